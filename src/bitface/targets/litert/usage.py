"""How a `.tflite` file is run: Python, Android, microcontrollers."""

from bitface.graph import Network


def usage(network: Network) -> str:
    return ""


def pixel_usage(network: Network) -> str:
    return ""
