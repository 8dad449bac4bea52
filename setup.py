"""What pyproject.toml cannot say: all packages found, and beside them flags/ as package data."""

import setuptools

setuptools.setup(
    packages=[*setuptools.find_packages(include=["lbunet_tf*"]), "lbunet_tf.flags"],
    package_dir={"lbunet_tf.flags": "flags"},
    package_data={"lbunet_tf.flags": ["*.cfg"]},
)
