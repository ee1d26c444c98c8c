#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster, which restarts what is taken away; needs `pip install xpk`
# and a cluster (`xpk cluster create --cluster C --tpu-type v5litepod-16 --num-slices 1 --spot`).
#
#   PROJECT_ID=P BUCKET=B CLUSTER=C deployment/tpu/xpk.sh train_flow.py --config=configs/cifar10.py
#   TYPE=v6e-16 ZONE=us-east5-b NAME=dit ...
#   DRY_RUN=1   only prints the command
#
# https://github.com/AI-Hypercomputer/xpk
set -euo pipefail

: "${PROJECT_ID:?wants PROJECT_ID, the name of a Google Cloud project}"
: "${BUCKET:?wants BUCKET, the name of a Cloud Storage bucket without gs://}"
: "${CLUSTER:?wants CLUSTER, the name of a GKE cluster made by xpk}"
[[ $# -gt 0 ]] || { echo "wants a train script and its flags" >&2; exit 2; }
TYPE="${TYPE:-v5litepod-16}"
ZONE="${ZONE:-us-central1-a}"
NAME="${NAME:-tandem}"
IMAGE="${IMAGE:-us-central1-docker.pkg.dev/$PROJECT_ID/tandem/tandem:tpu}"

${DRY_RUN:+echo +} xpk workload create --workload "$NAME" --cluster "$CLUSTER" \
  --project "$PROJECT_ID" --zone "$ZONE" --tpu-type "$TYPE" --num-slices 1 --max-restarts 20 \
  --docker-image "$IMAGE" \
  --command "cd /app && python $(printf '%q ' "$@" "--workdir=gs://$BUCKET/diffusion/$NAME")"
