"""Job specs against Vertex AI's own schema and this project's own flags; scripts that parse."""

import http.server
import json
import os
import re
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOYMENT = ROOT / "deployment"
SHELL = sorted(DEPLOYMENT.rglob("*.sh"))
MINE = ["--project-id", "p", "--bucket", "bucket"]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOYMENT))


@pytest.fixture
def vertex(importable):
    import vertex_job

    return vertex_job


@pytest.fixture
def printed(script):
    def run(name, *words):
        refusal, out = script(f"deployment/submit_vertex_{name}.py", *MINE, *words)
        assert refusal == "" and "nothing was sent" in out
        return yaml.safe_load(out[: out.index("nothing was sent")])

    return run


def pool(job):
    return job["jobSpec"]["workerPoolSpecs"][0]


def test_a_training_job_is_printed_and_not_sent(printed):
    job = printed("training", "--script", "train_text.py", "--epochs", "10", "--batch-size", "32")
    container = pool(job)["containerSpec"]
    assert container["command"] == ["python"]
    assert container["args"] == [
        "train_text.py", "--workdir=gs://bucket/diffusion/train_text", "--epochs=10",
        "--batch_size=32",
    ]  # fmt: skip
    assert container["imageUri"] == "us-central1-docker.pkg.dev/p/tandem/tandem:gpu"
    assert pool(job)["machineSpec"] == {
        "machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1,
    }  # fmt: skip
    assert job["jobSpec"]["scheduling"]["strategy"] == "STANDARD"
    as_json = printed("training", "--epochs", "10", "--batch-size", "32", "--format", "json")
    assert as_json == job, "JSON is YAML, and train_text.py is the default"


def test_a_spot_job_starts_again_by_the_same_command(printed):
    job = printed("training", "--spot", "--machine", "v6e-8", "--name", "dit")
    scheduling = job["jobSpec"]["scheduling"]
    assert scheduling["strategy"] == "SPOT" and scheduling["restartJobOnWorkerRestart"] is True
    assert "--workdir=gs://bucket/diffusion/dit" in pool(job)["containerSpec"]["args"]
    assert pool(job)["machineSpec"] == {"machineType": "ct6e-standard-8t", "tpuTopology": "2x4"}
    assert pool(job)["containerSpec"]["imageUri"].endswith(":tpu")


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("training", ["--machine", "v5e-16", "--spot"], "no spot machines for TPU pods"),
        ("training", ["--machine", "h100"], "no machine 'h100'; there are n1-standard-8"),
        ("training", ["--script", "eval_fid.py"], "there are train_text.py, train_flow.py"),
        ("training", ["--bucket", "gs://bucket"], "wants the bare name of a bucket"),
        ("sampling", ["--sample-mode", "guided"], "there is sample, guided_sample"),
        ("sampling", ["--script", "train_flow.py", "--sample-mode", "guided_sample"],
         "train_flow.py has no --sample-mode guided_sample"),
        ("sampling", ["--checkpoint", "runs/stories"], "wants a run on gs://"),
        ("sampling", ["--ar-checkpoint", "gs://b/ar"], "wants --sample-mode guided_sample"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused(script, name, words, told):
    refusal, _ = script(f"deployment/submit_vertex_{name}.py", *MINE, *words)
    assert told in refusal


@pytest.mark.parametrize("kind", ["train_text.py", "train_flow.py"])
def test_the_train_script_knows_the_flags_of_its_job(printed, kind):
    from utils import config

    words = ["--script", kind, "--epochs", "0.5", "--batch-size", "32", "--", "--model.depth", "4"]
    args = pool(printed("training", *words))["containerSpec"]["args"]
    assert args[0] == kind
    parsed = config.parse(args, f"configs/{'text' if kind == 'train_text.py' else 'flow'}.py")
    assert (parsed.epochs, parsed.batch_size, parsed.model.depth) == (0.5, 32, 4)
    assert parsed.workdir == f"gs://bucket/diffusion/{kind[:-3]}"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], {"load_dir": "gs://bucket/diffusion/train_text", "mode": "plain", "ar_dir": None}),
        (["--sample-mode", "guided_sample", "--num-samples", "10", "--checkpoint", "gs://b/x/"],
         {"load_dir": "gs://b/x", "mode": "guided", "ar_dir": "gs://b/x_ar", "num_samples": 10}),
        (["--sample-mode", "guided_sample", "--ar-checkpoint", "gs://b/y", "--", "--alpha", "0.5"],
         {"mode": "guided", "ar_dir": "gs://b/y", "alpha": 0.5}),
        (["--script", "train_flow.py", "--", "--classes", "3"],
         {"load_dir": "gs://bucket/diffusion/train_flow", "classes": "3"}),
    ],
)  # fmt: skip
def test_generate_knows_the_flags_of_its_job(printed, monkeypatch, words, wanted):
    args = pool(printed("sampling", *words))["containerSpec"]["args"]
    assert args[0] == "generate.py"
    monkeypatch.setattr(sys, "argv", args)
    parsed, _ = runpy.run_path(str(ROOT / "generate.py"))["arguments"]()
    assert {name: getattr(parsed, name) for name in wanted} == wanted


def test_every_machine_and_both_templates_are_in_vertex_ais_schema(vertex):
    types = pytest.importorskip("google.cloud.aiplatform_v1.types", reason="the [cloud] extra")
    for template in ("vertex_ai_config.yaml", "vertex_ai_sampling_config.yaml"):
        parser = vertex.arguments("", template)
        for machine in vertex.MACHINES:
            args = parser.parse_args([*MINE, "--name", "n", "--machine", machine])
            job = vertex.job(args, ["train_text.py"])
            message = vertex.checked(job)
            assert isinstance(message, types.CustomJob)
            spec = message.job_spec.worker_pool_specs[0]
            assert bool(spec.machine_spec.tpu_topology) != bool(spec.machine_spec.accelerator_type)
            assert message.job_spec.scheduling.restart_job_on_worker_restart


def test_what_vertex_ai_does_not_know_is_refused(vertex):
    pytest.importorskip("google.cloud.aiplatform_v1.types", reason="the [cloud] extra")
    from google.protobuf.json_format import ParseError

    for wrong, told in (
        ({"tpuTopolgy": "2x2"}, "no field named .tpuTopolgy"),
        ({"acceleratorType": "NVIDIA_L5"}, "NVIDIA_L5"),
        ({"acceleratorCount": "many"}, "many"),
    ):
        with pytest.raises(ParseError, match=told):
            vertex.checked({"jobSpec": {"workerPoolSpecs": [{"machineSpec": wrong}]}})


def test_a_submitted_job_reaches_vertex_ai_as_it_was_printed(vertex):
    jobs = pytest.importorskip(
        "google.cloud.aiplatform_v1.services.job_service", reason="the [cloud] extra"
    )
    from google.auth.credentials import AnonymousCredentials

    seen = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path.partition("?")[0], json.loads(body)))
            answer = json.dumps({"name": "projects/p/locations/r/customJobs/7"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    args = vertex.arguments("", "vertex_ai_config.yaml").parse_args([*MINE, "--name", "n"])
    job = vertex.job(args, ["train_text.py", "--epochs=10"])
    with http.server.HTTPServer(("localhost", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        transport = jobs.transports.JobServiceRestTransport(
            host=f"localhost:{server.server_port}", url_scheme="http",
            credentials=AnonymousCredentials(),
        )  # fmt: skip
        service = jobs.JobServiceClient(transport=transport)
        name = vertex.submit(vertex.checked(job), "p", "r", service)
        server.shutdown()
    assert name == "projects/p/locations/r/customJobs/7"
    ((path, body),) = seen
    assert path == "/v1/projects/p/locations/r/customJobs"
    assert vertex.checked(body) == vertex.checked(job)


def test_hosts_of_a_slice(vertex):
    wanted = {"a3-highgpu-8g": 1, "v5e-8": 1, "v5e-16": 4, "v5e-32": 8, "v6e-1": 1, "v6e-16": 4}
    assert {m: vertex.hosts(vertex.machine_spec(m)) for m in wanted} == wanted
    for name, spec in vertex.MACHINES.items():
        if "tpuTopology" in spec:
            rows, columns = map(int, spec["tpuTopology"].split("x"))
            assert rows * columns == int(name.split("-")[1]), "named by its chips"


@pytest.mark.parametrize("path", SHELL, ids=lambda p: p.name)
def test_shell_scripts_parse_and_ask_for_what_they_need(path):
    subprocess.run(["bash", "-n", path], check=True)
    env = {"PATH": os.environ["PATH"]}
    bare = subprocess.run([path], env=env, capture_output=True, text=True)
    assert bare.returncode and "wants PROJECT_ID" in bare.stderr
    env |= {"PROJECT_ID": "p", "BUCKET": "b", "CLUSTER": "c", "DRY_RUN": "1"}
    words = ["train_text.py", "--name", "a b"] if path.parent.name == "tpu" else []
    dry = subprocess.run([path, *words], env=env, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr
    commands = [line for line in dry.stdout.splitlines() if line.startswith("+ ")]
    assert commands and all(line.startswith(("+ gcloud ", "+ xpk ")) for line in commands)
    if words:
        assert r"train_text.py --name a\ b --workdir=gs://b/diffusion/tandem" in dry.stdout


def test_the_setup_makes_the_image_that_jobs_ask_for(vertex):
    env = {"PATH": os.environ["PATH"], "PROJECT_ID": "p", "BUCKET": "b", "DRY_RUN": "1"}
    env["ACCELERATORS"] = "gpu tpu"
    out = subprocess.run(
        [DEPLOYMENT / "setup_vertex_training.sh"], env=env, capture_output=True, text=True
    ).stdout
    built = re.findall(r"_IMAGE=([^,]+),_ACCELERATOR=(\w+)", out)
    parser = vertex.arguments("", "vertex_ai_config.yaml")
    for (image, extra), machine in zip(built, ("g2-standard-12", "v5e-8"), strict=True):
        job = vertex.job(parser.parse_args([*MINE, "--name", "n", "--machine", machine]), [])
        assert pool(job)["containerSpec"]["imageUri"] == image
        assert extra in extras()


def extras():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


@pytest.mark.parametrize("extra", ["cuda12", "cuda", "tpu"])
def test_the_image_installs_what_the_project_wants(extra):
    text = (DEPLOYMENT / "Dockerfile").read_text()
    program = re.search(r'RUN python -c "(.*)" > wanted.txt', text)[1]
    out = subprocess.run(
        [sys.executable, "-c", program.replace("$ACCELERATOR", extra)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert set(extras()[extra] + extras()["gcs"] + extras()["data"]) < set(out)
    assert any(line.startswith("orbax-checkpoint") for line in out)


def test_yaml_files_parse_and_name_what_is_there():
    build = yaml.safe_load((DEPLOYMENT / "cloudbuild.yaml").read_text())
    assert (ROOT / build["steps"][0]["args"][2]).is_file()
    sky = yaml.safe_load((DEPLOYMENT / "tpu" / "skypilot.yaml").read_text())
    script, config = sky["envs"]["TRAIN"].split()
    assert (ROOT / script).is_file() and (ROOT / config.partition("=")[2]).is_file()
    assert sky["resources"]["use_spot"] and "$TRAIN --workdir=gs://$BUCKET" in sky["run"]
