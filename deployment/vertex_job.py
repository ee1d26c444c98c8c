"""A Vertex AI custom job: what it runs, on which machine, checked before it is sent.

A job is a dict, spelled as the REST API spells it (camelCase): what is printed here is what Vertex
AI is sent, and its jobSpec is what `gcloud ai custom-jobs create --config` reads.

Sources: docs.cloud.google.com/vertex-ai/docs/training/configure-compute (machines),
docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec (fields),
docs.cloud.google.com/vertex-ai/docs/training/use-spot-vms (what may be spot).
"""

import argparse
import json
import re
import string
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
FORMATS = {
    "yaml": lambda job: yaml.safe_dump(job, sort_keys=False, width=100),
    "json": lambda job: json.dumps(job, indent=2),
}


def gpus(kind: str, count: int) -> dict:
    return {"acceleratorType": kind, "acceleratorCount": count}


def tpus(machine: str, topology: str) -> dict:
    return {"machineType": machine, "tpuTopology": topology}


# name for --machine: fields of machineSpec. A GPU machine's name is its machineType, and says how
# many GPUs there are. A TPU machine holds 1, 4 or 8 chips; a topology of more is several hosts.
MACHINES = {
    "n1-standard-8": gpus("NVIDIA_TESLA_T4", 1),
    "g2-standard-12": gpus("NVIDIA_L4", 1),
    "g2-standard-48": gpus("NVIDIA_L4", 4),
    "g2-standard-96": gpus("NVIDIA_L4", 8),
    "a2-highgpu-1g": gpus("NVIDIA_TESLA_A100", 1),
    "a2-highgpu-8g": gpus("NVIDIA_TESLA_A100", 8),
    "a2-ultragpu-1g": gpus("NVIDIA_A100_80GB", 1),
    "a2-ultragpu-8g": gpus("NVIDIA_A100_80GB", 8),
    "a3-highgpu-1g": gpus("NVIDIA_H100_80GB", 1),
    "a3-highgpu-8g": gpus("NVIDIA_H100_80GB", 8),
    "a3-megagpu-8g": gpus("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": gpus("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": gpus("NVIDIA_B200", 8),
    "v5e-1": tpus("ct5lp-hightpu-1t", "1x1"),
    "v5e-4": tpus("ct5lp-hightpu-4t", "2x2"),
    "v5e-8": tpus("ct5lp-hightpu-8t", "2x4"),
    "v5e-16": tpus("ct5lp-hightpu-4t", "4x4"),
    "v5e-32": tpus("ct5lp-hightpu-4t", "4x8"),
    "v6e-1": tpus("ct6e-standard-1t", "1x1"),
    "v6e-4": tpus("ct6e-standard-4t", "2x2"),
    "v6e-8": tpus("ct6e-standard-8t", "2x4"),
    "v6e-16": tpus("ct6e-standard-4t", "4x4"),
}


def machine_spec(name: str) -> dict:
    """The machineSpec of a name in MACHINES.

    Raises:
        ValueError: there is no such machine; tells which there are.
    """
    if name not in MACHINES:
        raise ValueError(f"no machine {name!r}; there are {', '.join(MACHINES)}")
    return {"machineType": name} | MACHINES[name]


def hosts(spec: dict) -> int:
    """How many virtual machines a machineSpec stands for."""
    if "tpuTopology" not in spec:
        return 1
    rows, columns = map(int, spec["tpuTopology"].split("x"))
    return rows * columns // int(re.search(r"(\d+)t$", spec["machineType"])[1])


def arguments(about: str, template: str) -> argparse.ArgumentParser:
    """The flags that every kind of job has; what follows a bare -- goes to the script."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--project-id", required=True, help="Google Cloud project")
    add("--bucket", required=True, help="Cloud Storage bucket, without gs://")
    add("--script", default="train_text.py", help="train_text.py or train_flow.py")
    add("--name", help="of the run, gs://BUCKET/diffusion/NAME (the script's)")
    add("--region", default="us-central1")
    add("--machine", default="g2-standard-12", help=", ".join(MACHINES))
    add("--image", help="(REGION-docker.pkg.dev/PROJECT/tandem/tandem:gpu, or :tpu on a TPU)")
    add("--spot", action="store_true", help="cheaper, may be taken away; goes on by itself")
    add("--config", default=HERE / template, help="template of the job spec")
    add("--format", choices=FORMATS, default="yaml", help="of what is printed")
    add("--submit", action="store_true", help="send it; without this it is only printed")
    return parser


def parsed(parser: argparse.ArgumentParser):
    """(flags of the parser, words for the script: those behind a bare --)."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    return parser.parse_args(words[:cut]), words[cut + 1 :]


def run_folder(bucket: str, name: str) -> str:
    """gs://BUCKET/diffusion/NAME: checkpoints, metrics and samples of one run."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", bucket):
        raise ValueError(f"--bucket wants the bare name of a bucket; got {bucket!r}")
    return f"gs://{bucket}/diffusion/{name}"


def job(args, words: list[str]) -> dict:
    """The CustomJob that runs `python WORDS` in the image.

    Args:
        args: from `arguments`.
        words: a script of this project and its flags.

    Raises:
        ValueError: no such machine, or one that cannot be spot.
        FileNotFoundError: the template is not there.
    """
    machine = machine_spec(args.machine)
    if args.spot and hosts(machine) > 1:
        raise ValueError(
            f"Vertex AI has no spot machines for TPU pods; leave out --spot, or take a --machine "
            f"of one host rather than {args.machine}"
        )
    kind = "tpu" if "tpuTopology" in machine else "gpu"
    image = args.image or f"{args.region}-docker.pkg.dev/{args.project_id}/tandem/tandem:{kind}"
    values = {"IMAGE": image, "BUCKET": args.bucket, "NAME": args.name}
    spec = yaml.safe_load(string.Template(Path(args.config).read_text()).safe_substitute(values))
    pool = spec["workerPoolSpecs"][0]
    pool["machineSpec"] = machine
    pool["containerSpec"]["args"] = words
    spec["scheduling"]["strategy"] = "SPOT" if args.spot else "STANDARD"
    return {"displayName": f"tandem-{args.name}", "jobSpec": spec}


def checked(job: dict):
    """The job as Vertex AI's own message type; None where google-cloud-aiplatform is missing.

    Raises:
        google.protobuf.json_format.ParseError: a field or a value that Vertex AI does not know.
    """
    try:
        from google.cloud.aiplatform_v1.types import CustomJob
    except ImportError:
        return None
    from google.protobuf import json_format

    message = CustomJob()
    json_format.ParseDict(job, message._pb, ignore_unknown_fields=False)
    return message


def client(region: str):
    """Talks to Vertex AI in `region` with the credentials of `gcloud auth application-default`."""
    from google.cloud.aiplatform_v1 import JobServiceClient

    return JobServiceClient(client_options={"api_endpoint": f"{region}-aiplatform.googleapis.com"})


def submit(job, project: str, region: str, service) -> str:
    """Sends a job from `checked`; returns its name, projects/P/locations/R/customJobs/ID."""
    parent = f"projects/{project}/locations/{region}"
    return service.create_custom_job(parent=parent, custom_job=job).name


def show_or_submit(args, job: dict):
    """Prints the job, or sends it where that was asked for.

    Raises:
        ImportError: it cannot be sent; tells what to install.
    """
    message = checked(job)
    if args.submit and message is None:
        raise ImportError("--submit wants google-cloud-aiplatform: pip install '.[cloud]'")
    if args.submit:
        name = submit(message, args.project_id, args.region, client(args.region))
        print(f"submitted {name}\nfollow it: gcloud ai custom-jobs stream-logs {name}")
        return
    print(FORMATS[args.format](job).rstrip())
    how = "checked against" if message else "not checked, for want of the [cloud] extra, against"
    print(f"nothing was sent; {how} Vertex AI's own schema; --submit sends it", file=sys.stderr)


def run(main):
    """Calls main(); what the user did wrong is one line."""
    try:
        main()
    except Exception as error:
        known = isinstance(error, ValueError | OSError | ImportError)
        sent = type(error).__module__.startswith("google.")  # refused by the schema, or by Google
        if not known and not sent:
            raise
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
