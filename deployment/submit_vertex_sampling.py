"""Submits sampling from a trained run to Vertex AI; prints the job unless --submit is given.

    python deployment/submit_vertex_sampling.py --project-id P --bucket B --script train_text.py
    python deployment/submit_vertex_sampling.py --project-id P --bucket B --script train_text.py \\
        --sample-mode guided_sample --num-samples 10 --checkpoint gs://B/diffusion/stories
    python deployment/submit_vertex_sampling.py --project-id P --bucket B --script train_flow.py \\
        --submit -- --classes 0-9 --cfg_scale 2

The job runs generate.py; what follows a bare -- are its flags. Samples land in
CHECKPOINT/generated.
"""

import vertex_job as vertex

# --sample-mode: flags of generate.py, given the autoregressive run's folder
MODES = {
    "sample": lambda ar: [],
    "guided_sample": lambda ar: ["--mode=guided", f"--ar_dir={ar}"],
}
SCRIPTS = {"train_text.py": tuple(MODES), "train_flow.py": ("sample",)}


def main():
    parser = vertex.arguments(__doc__, "vertex_ai_sampling_config.yaml")
    add = parser.add_argument
    add("--sample-mode", default="sample", help="sample, or guided_sample: with a second model")
    add("--checkpoint", help="run to sample from (gs://BUCKET/diffusion/NAME)")
    add("--ar-checkpoint", help="guided_sample: the autoregressive run (CHECKPOINT_ar)")
    add("--num-samples", type=int, help="how many (generate.py's)")
    args, words = vertex.parsed(parser)
    if args.script not in SCRIPTS:
        parser.error(f"no --script {args.script}; there are {', '.join(SCRIPTS)}")
    modes = SCRIPTS[args.script]
    if args.sample_mode not in modes:
        parser.error(f"{args.script} has no --sample-mode {args.sample_mode}; "
                     f"there is {', '.join(modes)}")  # fmt: skip
    if args.ar_checkpoint and args.sample_mode != "guided_sample":
        parser.error("--ar-checkpoint wants --sample-mode guided_sample")
    args.name = args.name or args.script.removesuffix(".py")
    run = (args.checkpoint or vertex.run_folder(args.bucket, args.name)).rstrip("/")
    if not run.startswith("gs://"):
        parser.error(f"--checkpoint wants a run on gs://, which the job can read; got {run}")
    flags = [f"--load_dir={run}", *MODES[args.sample_mode](args.ar_checkpoint or f"{run}_ar")]
    if args.num_samples is not None:
        flags += [f"--num_samples={args.num_samples}"]
    job = vertex.job(args, ["generate.py", *flags, *words])
    job["displayName"] += "-samples"
    vertex.show_or_submit(args, job)


if __name__ == "__main__":
    vertex.run(main)
