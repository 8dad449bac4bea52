"""What pyproject.toml cannot say: all packages, and what they hold besides modules."""

import setuptools

setuptools.setup(
    packages=[*setuptools.find_packages(include=["lbunet_tf*"]), "lbunet_tf.flags"],
    package_dir={"lbunet_tf.flags": "flags"},
    package_data={
        "lbunet_tf.flags": ["*.cfg", "*/*.cfg"],
        "lbunet_tf": ["released/*/*"],
        "lbunet_tf.evaluation.reports": ["templates/*.jinja", "templates/*.css"],
    },
)
