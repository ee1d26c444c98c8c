#!/usr/bin/env bash
# Asks Cloud TPU for a slice, and trains on it as soon as it is granted: every host of the slice
# runs the same command in the image of setup_vertex_training.sh (ACCELERATORS=tpu).
#
#   PROJECT_ID=P BUCKET=B deployment/tpu/queued_resources.sh train_flow.py --config=configs/cifar10.py
#   TYPE=v6e-16 RUNTIME=v2-alpha-tpuv6e ZONE=us-east5-b SPOT=1 NAME=dit ...
#   DRY_RUN=1   only prints the commands
#
# A spot slice that was taken away is asked for again by deleting it (below) and running this once
# more; training goes on from the newest checkpoint. Cloud TPU's own page recommends GKE (xpk.sh)
# for what is new; this is the shortest way to one slice.
# https://docs.cloud.google.com/tpu/docs/queued-resources
set -euo pipefail

: "${PROJECT_ID:?wants PROJECT_ID, the name of a Google Cloud project}"
: "${BUCKET:?wants BUCKET, the name of a Cloud Storage bucket without gs://}"
[[ $# -gt 0 ]] || { echo "wants a train script and its flags" >&2; exit 2; }
TYPE="${TYPE:-v5litepod-16}"
RUNTIME="${RUNTIME:-v2-alpha-tpuv5-lite}"
ZONE="${ZONE:-us-central1-a}"
NAME="${NAME:-tandem}"
REGISTRY="${REGISTRY:-us-central1-docker.pkg.dev}"
IMAGE="${IMAGE:-$REGISTRY/$PROJECT_ID/tandem/tandem:tpu}"

startup="$(mktemp)"
trap 'rm -f "$startup"' EXIT
cat >"$startup" <<EOF
#!/usr/bin/env bash
export HOME=/root  # where docker looks for what the next line writes
gcloud auth configure-docker $REGISTRY --quiet
docker run --privileged --net=host $IMAGE $(printf '%q ' "$@" "--workdir=gs://$BUCKET/diffusion/$NAME")
EOF

if [[ -n "${DRY_RUN:-}" ]]; then cat "$startup"; fi
${DRY_RUN:+echo +} gcloud compute tpus queued-resources create "$NAME" --node-id "$NAME" \
  --project "$PROJECT_ID" --zone "$ZONE" --accelerator-type "$TYPE" --runtime-version "$RUNTIME" \
  --scopes cloud-platform --metadata-from-file "startup-script=$startup" ${SPOT:+--spot}
cat <<EOF
watch:  gcloud compute tpus tpu-vm ssh $NAME --project $PROJECT_ID --zone $ZONE --worker=0 \\
          --command 'sudo journalctl -f -u google-startup-scripts'
delete: gcloud compute tpus queued-resources delete $NAME --project $PROJECT_ID --zone $ZONE --force
EOF
