"""Files of tf2onnx, from Keras 2 on TensorFlow: as they come, and with the input turned to NCHW (`--inputs-as-nchw`).

    python benchmarks/exporters/from_keras.py FOLDER [--only NAME]

Runs in an environment of its own (`exporters/requirements-keras.txt`).
"""

import argparse
import os
import sys
import zlib
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import tensorflow as tf
import tf2onnx
from keras import layers as l

from exporters import keras_families


def with_tensorflow() -> dict[str, keras.Model]:
    """What only TensorFlow's own functions write."""
    image = keras.Input(keras_families.FACE)
    pixels = keras.Input(keras_families.FACE, dtype="uint8")
    fixed = keras.Input(keras_families.FACE, batch_size=1)

    def openface(x):
        x = keras_families.unit(x, 16, 7, 2, "relu")
        x = l.Lambda(lambda v: tf.nn.lrn(v, alpha=1e-4, beta=0.75))(l.MaxPooling2D(3, 2, "same")(x))
        pooled = l.Lambda(lambda v: tf.sqrt(tf.nn.avg_pool2d(tf.square(v), 3, 2, "SAME") * 9))(x)
        x = l.Concatenate()([keras_families.unit(x, 16, 3, 2, "relu"), pooled])
        return l.Lambda(lambda v: tf.math.l2_normalize(v, axis=1))(keras_families.end(x, "gap"))

    def channels(x):
        x = keras_families.unit(x, 24, 3, 2)
        for _ in range(3):
            left, right = l.Lambda(lambda v: tf.split(v, 2, -1))(x)
            x = l.Concatenate()([keras_families.depthwise(left, 3, 2), keras_families.depthwise(right, 5, 2)])
            h, w, c = x.shape[1:]
            x = l.Lambda(
                lambda v, s=(h, w, c): tf.reshape(
                    tf.transpose(tf.reshape(v, [-1, s[0], s[1], 2, s[2] // 2]), [0, 1, 2, 4, 3]), [-1, *s]
                )
            )(x)
        return keras_families.end(x)

    def lightcnn(x):
        for o in (12, 24, 32, 32):
            first, second = l.Lambda(lambda v: tf.split(v, 2, -1))(l.Conv2D(2 * o, 3, padding="same")(x))
            x = l.MaxPooling2D(2, 2)(l.Maximum()([first, second]))
        return l.Dense(64)(l.Flatten()(x))

    nets = {
        "openface_lrn": keras.Model(image, openface(image)),
        "shufflenet": keras.Model(image, channels(image)),
        "lightcnn": keras.Model(image, lightcnn(image)),
        "fixed_batch": keras.Model(fixed, keras_families.mobilefacenet(fixed)),
        "uint8_raw": keras.Model(
            pixels,
            keras_families.mobilefacenet(l.Lambda(lambda v: tf.cast(v, tf.float32) / 127.5 - 1.0)(pixels), "relu6"),
        ),
        "caffe_raw": keras.Model(
            image,
            keras_families.mobilefacenet(
                l.Lambda(lambda v: keras.applications.resnet50.preprocess_input(v) / 100)(image), "relu6"
            ),
        ),
        "standardized": keras.Model(
            image, keras_families.mobilefacenet(l.Lambda(tf.image.per_image_standardization)(image), "relu")
        ),
        "mobilenetv2_keras": keras.applications.MobileNetV2((96, 96, 3), 0.35, False, None, pooling="avg"),
        "mobilenetv3_keras": keras.applications.MobileNetV3Small((96, 96, 3), 0.75, True, False, None, pooling="avg"),
    }
    for name, net in nets.items():
        x = keras_families.images(net.input_shape[1:], 1 if name == "fixed_batch" else 16)
        x = x * 127.5 + 127.5 if "raw" in name or "v3" in name else x
        for layer in net.layers:
            if isinstance(layer, l.BatchNormalization):
                layer.momentum = 0.0
        net(x.astype("uint8") if "uint8" in name else x, training=True)
    return nets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    nets = with_tensorflow()
    for name in keras_families.FAMILIES:
        keras.utils.set_random_seed(zlib.crc32(name.encode()) % 2**31)
        nets[name] = keras_families.make(name)
    for name, net in nets.items():
        if options.only not in name:
            continue
        for exporter, opset, first in [
            ("tf2onnx", 15, False),
            ("tf2onnx nchw", 18, True),
            ("tf2onnx opset 9", 9, False),
            ("tf2onnx opset 12", 12, False),
        ]:
            path = options.folder / exporter.replace(" ", "_") / f"{name}.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            failure = ""
            try:
                tf2onnx.convert.from_keras(
                    net, opset=opset, inputs_as_nchw=[net.inputs[0].name] if first else None, output_path=str(path)
                )
            except Exception as error:
                path.unlink(missing_ok=True)
                failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
            print(f"{exporter:26s} {name:24s} {failure or 'ok'}", flush=True)


if __name__ == "__main__":
    main()
