"""What is measured, what the project wants of it, and what others have published."""

from benchmarks.peers.works import AGGREGATORS

COMMANDS = (
    (
        "accuracy JOB",
        "errors and accuracies beside published ones: parameters chosen on validation tasks, 1,000 test episodes, 95 % intervals "
        "over episodes, one training seed",
    ),
    (
        "aggregators",
        "how far our aggregators are from TorchJD's, and both from exact solutions, where gradients are hard to combine",
    ),
    ("glyphs", "how fast made-up characters are drawn, and how hard they are"),
    ("defaults", "every default of `jmeta train`, to its end"),
    (
        "peers",
        "our time against PyTorch, learn2learn, higher, TorchOpt and TorchJD, in turn on the same work, after the gradients were "
        "found equal to 1e-4; ours runs several steps under one scan, as `fit` does, with the tasks of Omniglot laid over one "
        "device per core",
    ),
    ("school", "exam scores of 139 schools by linear models that share more or less, beside published errors"),
    ("speed", "growth of time and memory, compilation, what `fit` adds, sweeps"),
    ("regression REVISION", "a training step here against that of an earlier revision, in turn"),
    ("mutants", "whether the tests of a core module notice one changed operator or number of it"),
    (
        "multitask LEAGUE",
        "ways of sharing and of combining losses or gradients, each against independent networks: parameters chosen on validation "
        "examples and tested once",
    ),
    ("transfer.domains LEAGUE", "unsupervised domain adaptation, chosen without target labels, beside what an oracle chooses"),
    ("transfer.office_caltech", "closed forms on ready-made features of photographs, beside published accuracies"),
    ("transfer.bearings", "what a pretrained network is good for at another load, from 10 examples of each fault"),
    ("transfer.clusters", "clusters of digits on the features of an autoencoder, and refined"),
    ("transfer.sources", "scores of what to transfer from against what fine-tuning reaches"),
    ("resume", "20 trainings killed at random lines and resumed"),
    ("import_time", "what `import jmeta` adds to jax and optax"),
    ("plots", "nothing: draws one plot per question"),
)
# From tables 1 and 2 of Finn et al. (2017), for comparison.
PUBLISHED = {"sinusoid-maml": "0.67 / 0.38 / 0.35", "sinusoid-pretrained": "2.41 / 2.23 / 2.19"}
PUBLISHED |= {"omniglot-5way-1shot-maml": "98.7 ± 0.4"}
# The smallest ratios that the project wants: of the peer's time to ours.
WANTED = {(f"sinusoid-maml-{steps}", peer): "50" for steps in (1, 5) for peer in ("learn2learn", "higher")}
WANTED |= {(f"sinusoid-maml-{steps}", "torch.func"): "6" for steps in (1, 5)}
WANTED |= {
    (f"omniglot-maml-{steps}", peer): "2"
    for steps in (1, 5)
    for peer in ("torch", "torch.func", "learn2learn", "higher", "torchopt")
}
WANTED |= {(f"omniglot-maml-{steps}", "jax-lax.conv-vmap"): "20" for steps in (1, 5)}
WANTED |= {(f"{aggregator}-{tasks}", "torchjd"): "1" for aggregator in AGGREGATORS for tasks in (4, 16, 64)}
WANTED |= {("prototypical", "torch"): "1.2", ("dense", "torch"): "10", ("pcgrad-64", "torchjd"): "2"}
# How far ours may be at most from what an aggregator should give, and from TorchJD where that is as exact: closed forms, solvers.
CLOSED = ("pcgrad", "gradvac", "graddrop", "imtl_g", "aligned_mtl", "cr_mogm")
AGREEMENT = {name: 1e-8 if name in CLOSED else 1e-4 for name in AGGREGATORS}
# What a solution fulfils, and to what.
CONDITIONS = {
    "mgda": ("length over that of the shortest vector of the hull, less 1", 1e-5),
    "upgrad": ("conflict with a gradient, cosine", 1e-6),
    "dual_projection": ("conflict with a gradient, cosine", 1e-6),
    "nash_mtl": ("length of G a - 1 / a", 1e-3),
    "cagrad": ("distance from the mean over c times its length", 1 + 1e-6),
}
# Text, question and figure in speed-DEVICE.json, and what the project wants of it, if anything.
FIGURES = (
    ("time against tasks, 4 to 64: exponent", "growth-tasks", "slope", "at most 1.05"),
    ("time against inner steps, 1 to 32: exponent", "growth-steps", "slope", "at most 1.05"),
    ("memory against tasks, four at a time: exponent", "memory-tasks", "slope", "at most 0.1"),
    ("64 inner steps, memory over plain reverse mode", "memory-steps", "memory_ratio", "at most 0.1"),
    ("the same, time", "memory-steps", "time_ratio", "at most 1.2"),
    ("cold compile, sinusoid step, s", "cold-compile", "sinusoid_seconds", "at most 2"),
    ("cold compile, convolutional step, s", "cold-compile", "convolutional_seconds", "at most 6"),
    ("second process, after the imports, s", "second-process", "after_imports_seconds", "at most 1.5"),
    ("second process, in all, s", "second-process", "in_all_seconds", "at most 4"),
    ("convolutional step, share of the rate of a 2048 product", "share-of-rate", "share", "at least 0.5"),
    ("its time with one device per core, over one device", "devices", "one_step_ratio", "at most 1"),
    ("the same, 5 inner steps", "devices", "five_steps_ratio", "at most 1"),
    ("its time, 5 inner steps, in mixed mode, over the default", "adjoint", "mixed_ratio", ""),
    ("the same, activations kept", "adjoint", "kept_ratio", ""),
    ("the same, loop unrolled", "adjoint", "unroll_ratio", ""),
    ("peak memory over what `cost` says", "cost", "ratio", "0.85 to 1.15"),
    ("`fit` over the bare compiled loop", "fit", "ratio", "at most 1.05"),
    ("a second `fit` of the same step, before its first step, s", "second-fit", "seconds", "at most 0.1"),
    ("a sweep of 8 rates in one program over 8 runs one after another, time", "sweep", "ratio", "at most 0.5"),
    ("prototypical gradient, 400 ways x 400 queries x 512, temporary MB", "prototypical-memory", "megabytes", "at most 40"),
    ("hard sharing, FLOPs of a step with 12 heads on one input over that with 1", "heads", "ratio", "at most 1.2"),
    ("the same, as XLA counts them", "heads", "compiled_ratio", "at most 1.2"),
    ("the same, time", "heads", "time_ratio", ""),
    ("implicit MAML, temporary memory of 128 inner steps over that of 1", "implicit-memory", "ratio", "at most 1.05"),
)
# Text, and the figures that stand beside it: (kind of file, work or question, peer or key); the first is shown with its wish.
HEADLINES = (
    ("MAML on sinusoids, 5 shots: squared error after 1 / 5 / 10 steps", "accuracy", "sinusoid-maml", ("1", "5", "10")),
    ("MAML, Omniglot 5-way 1-shot, accuracy %", "accuracy", "omniglot-5way-1shot-maml", ("1",)),
    ("prototypical networks, Omniglot 5-way 1-shot, accuracy %", "accuracy", "omniglot-5way-1shot-prototypical", ("0",)),
    ("MAML step on sinusoids, times as fast as learn2learn", "peers", "sinusoid-maml-1", "learn2learn"),
    ("the same, times as fast as higher", "peers", "sinusoid-maml-1", "higher"),
    ("the same, times as fast as torch.func", "peers", "sinusoid-maml-1", "torch.func"),
    ("convolutional MAML step, 5 inner steps, times as fast as the fastest peer", "peers", "omniglot-maml-5", None),
    ("the same, times as fast as `lax.conv` under `vmap`", "peers", "omniglot-maml-5", "jax-lax.conv-vmap"),
    ("PCGrad of 64 gradients, times as fast as TorchJD", "peers", "pcgrad-64", "torchjd"),
    ("64 inner steps, memory over plain reverse mode", "speed", "memory-steps", "memory_ratio"),
    ("a sweep of 8 rates over 8 runs one after another, time", "speed", "sweep", "ratio"),
    ("second process, first convolutional step, imports included, s", "speed", "second-process", "in_all_seconds"),
    ("`fit` over the bare compiled loop, time", "speed", "fit", "ratio"),
    ("trainings killed at random lines that resumed bit for bit", "resume", "bitwise", "trials"),
)
# Of leagues of multi-task learning: whether a metric is better the higher it is.
HIGHER_IS_BETTER = {
    "accuracy": True,
    "pixel accuracy": True,
    "mean IoU": True,
    "R2": True,
    "root mean squared error": False,
    "absolute error (m)": False,
    "relative error": False,
    "angular error (degrees)": False,
}
# By league and job: what the project wants of it; of jobs that are not named, what it wants of any (key "").
LEAGUE_WANTED = {
    "multi_mnist": {
        "independent_networks": "at least 96.5 / 95.0",
        "hard_parameter_sharing": "at least 95.5 / 94.0",
        "hard_parameter_sharing+pcgrad": "at least 96.0 / 94.5",
    },
    "nyuv2": {"": "at most 8 minutes"},
}
# By league and job: what others have published. Of NYUv2 delta m in percent against one network for each task, of the tables that
# papers report, and of what the authors of LibMTL found when they ran all of them again.
LEAGUE_PUBLISHED = {
    "multi_mnist": {
        "hard_parameter_sharing": "90.30 / 90.01 (a rerun)",
        "hard_parameter_sharing+pcgrad": "96.58 / 95.50; 95.00 / 92.00 (a rerun)",
    },
    "nyuv2": {
        "hard_parameter_sharing": "5.59; 2.35",
        "hard_parameter_sharing+uncertainty_weighting": "4.06; -0.09",
        "hard_parameter_sharing+famo": "-4.10",
        "hard_parameter_sharing+pcgrad": "3.97; 1.36",
        "hard_parameter_sharing+mgda": "1.38; -0.70",
        "hard_parameter_sharing+cagrad": "0.19; -3.64",
        "hard_parameter_sharing+nash_mtl": "-4.05; -4.37",
        "hard_parameter_sharing+aligned_mtl": "-4.77; -3.12",
    },
}
# What stands below the table of a league.
LEAGUE_REMARKS = {
    "multi_mnist": "Wanted and published: accuracy of left / right in %. Published are PCGrad's, and a rerun of it and of equal "
    "weights, as the README of WeiChengTseng/Pytorch-PCGrad quotes them. The pairs of digits there are others.",
    "nyuv2": "Published: delta m in % of nine metrics of three tasks against one network for each, of the papers' tables, and of "
    "those of LibMTL's authors, who ran the methods again. By the papers the order is aligned_mtl, famo, nash_mtl, cagrad, mgda, "
    "pcgrad, uncertainty_weighting, equal weights. They train SegNet with MTAN, on larger images and on surface normals too; here "
    "are two tasks on 96 x 128 pixels with depth of 8 bits and a small network, so that no number is comparable, and at most the "
    "order.",
}
