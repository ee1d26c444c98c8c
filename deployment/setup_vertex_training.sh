#!/usr/bin/env bash
# Once for a Google Cloud project: turns on what Vertex AI jobs need, makes the bucket and the
# image repository, and builds the image in Cloud Build. May be run again.
#
#   PROJECT_ID=my-project BUCKET=my-bucket deployment/setup_vertex_training.sh
#   ACCELERATORS="gpu tpu"   which images to build (gpu)
#   DRY_RUN=1                only prints the commands
set -euo pipefail
cd "$(dirname "$0")/.."

: "${PROJECT_ID:?wants PROJECT_ID, the name of a Google Cloud project}"
: "${BUCKET:?wants BUCKET, the name of a Cloud Storage bucket without gs://}"
REGION="${REGION:-us-central1}"
ACCELERATORS="${ACCELERATORS:-gpu}"
IMAGE="$REGION-docker.pkg.dev/$PROJECT_ID/tandem/tandem"

run() {
  echo "+ $*"
  [[ -n "${DRY_RUN:-}" ]] || "$@"
}

# True if the thing that "$@" describes is there; a dry run asks nothing and makes everything.
there() {
  [[ -z "${DRY_RUN:-}" ]] && "$@" >/dev/null 2>&1
}

run gcloud services enable --project "$PROJECT_ID" \
  aiplatform.googleapis.com artifactregistry.googleapis.com cloudbuild.googleapis.com storage.googleapis.com

there gcloud storage buckets describe "gs://$BUCKET" --project "$PROJECT_ID" ||
  run gcloud storage buckets create "gs://$BUCKET" --project "$PROJECT_ID" --location "$REGION" \
    --uniform-bucket-level-access

there gcloud artifacts repositories describe tandem --project "$PROJECT_ID" --location "$REGION" ||
  run gcloud artifacts repositories create tandem --project "$PROJECT_ID" --location "$REGION" \
    --repository-format docker

for kind in $ACCELERATORS; do
  case "$kind" in
    gpu) extra=cuda12 ;;
    tpu) extra=tpu ;;
    *) echo "no image $kind; there are gpu and tpu" >&2; exit 2 ;;
  esac
  run gcloud builds submit . --project "$PROJECT_ID" --region "$REGION" --timeout 3600s \
    --config deployment/cloudbuild.yaml --substitutions "_IMAGE=$IMAGE:$kind,_ACCELERATOR=$extra"
done
echo "next: python deployment/submit_vertex_training.py --project-id $PROJECT_ID --bucket $BUCKET" \
  "--region $REGION --script train_text.py"
