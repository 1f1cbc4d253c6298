"""What others have published of transfer, and what the project wants of it."""

# Mean of 12 pairs, from github.com/jindongwang/transferlearning, data/benchmark.md. Its row of SVM is ours to a tenth in every pair
# but Webcam to Caltech, where it says 28.8 and its mean wants 21.2.
OFFICE_CALTECH = {"1-NN": "31.4", "SVM": "41.1", "TCA, weighted": "46.2", "GFK": "43.1", "CORAL": "48.8"}
# SKADA-bench, whole sets, of MNIST to USPS and back: chosen without target labels by DEV, and with them.
DIGITS = {
    "source only": ("", "94.2 / 73.4"),
    "coral": ("96.4 / 87.8", "97.1 / 89.9"),
    "mmd": ("96.2 / 86.0", "95.0 / 86.3"),
    "dann": ("93.6 / 87.0", "92.6 / 86.8"),
    "mcc": ("96.7 / 86.1", "98.2 / 90.4"),
}
