# SPDX-License-Identifier: Apache-2.0
"""Builds the kernel: every `cython_core/*.pyx` becomes a module of `bidhall.core`. All else is in pyproject.toml.

pip and `python setup.py build_ext --inplace` call it. Environment, all optional:

    BIDHALL_BUILD   release (default), debug (the kernel checks its invariants after every command) or
                    sanitize (debug, and AddressSanitizer and UndefinedBehaviorSanitizer)
    BIDHALL_MARCH   what -march= gets instead of the portable default, for example `native`
    BIDHALL_JOBS    how many modules are compiled at once

It must never reach the network, and never put a file outside `build/` but the modules themselves.
"""

import os
import platform
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_namespace_packages, setup

HERE = Path(__file__).resolve().parent
os.chdir(HERE)
PACKAGE, ROOM, FOLDER = "bidhall", "core", "cython_core"
BUILD = os.environ.get("BIDHALL_BUILD", "release")

# One dictionary for every file of the kernel. Nothing is checked that the kernel does not check itself: a test
# compares it with a plain twin, and the sanitizer build watches the same histories.
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "nonecheck": False,
    "cdivision": True,
    "embedsignature": True,
}

# What Python itself was built with comes first, -fwrapv and -DNDEBUG among it. Release leaves -fwrapv alone: money is
# multiplied with __builtin_*_overflow, and where nobody looks a defined wrap is better than an undefined one. The
# sanitizer needs it off, or it would not see signed overflow at all.
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
BUILDS = {
    "release": (["-O3", "-g1"], []),
    "debug": (["-O1", "-g", "-UNDEBUG", "-DBIDHALL_DEBUG=1"], []),
    "sanitize": (
        ["-O1", "-g", "-UNDEBUG", "-DBIDHALL_DEBUG=1", "-fno-wrapv", "-fno-omit-frame-pointer", *SANITIZERS],
        SANITIZERS,
    ),
}


def march() -> list[str]:
    """The instruction set: every 64-bit PC since 2009, unless the caller knows better."""
    chosen = os.environ.get("BIDHALL_MARCH", "x86-64-v2" if platform.machine() in ("x86_64", "AMD64") else "")
    return [f"-march={chosen}"] if chosen else []


def include_tree() -> str:
    """A folder in which `bidhall/core/*.pxd` exist under the name Cython looks for (the real folder is cython_core)."""
    root = HERE / "build" / "cyinclude"
    shutil.rmtree(root, ignore_errors=True)
    room = root / PACKAGE / ROOM
    room.mkdir(parents=True)
    (root / PACKAGE / "__init__.pxd").touch()
    (room / "__init__.pxd").touch()
    for header in sorted((HERE / FOLDER).glob("*.pxd")):
        shutil.copy2(header, room / header.name)  # with its time, or everything would be compiled again each time
    return os.path.relpath(root, HERE)


def flags_stamp(flags: list[str]) -> str:
    """A file that changes when the flags do, so that another BIDHALL_BUILD compiles again and the same one does not."""
    stamp = HERE / "build" / "flags.txt"
    stamp.parent.mkdir(exist_ok=True)
    text = "\n".join([BUILD, *flags])
    if not stamp.exists() or stamp.read_text() != text:
        stamp.write_text(text)
    return os.path.relpath(stamp, HERE)


def extensions() -> list[Extension]:
    """One for each .pyx; the files it includes are named so that a change in them compiles it again."""
    if BUILD not in BUILDS:
        raise SystemExit(f"BIDHALL_BUILD={BUILD}: choose one of {', '.join(BUILDS)}")
    compile_flags, link_flags = BUILDS[BUILD]
    flags = [*compile_flags, *march(), *WARNINGS]
    included = sorted(str(path) for kind in ("*.pxi", "*.pxd") for path in Path(FOLDER).glob(kind))
    depends = [flags_stamp(flags), *included]
    return [
        Extension(
            f"{PACKAGE}.{ROOM}.{source.stem}",
            [f"{FOLDER}/{source.name}"],
            extra_compile_args=flags,
            extra_link_args=link_flags,
            depends=depends,
        )
        for source in sorted(Path(FOLDER).glob("*.pyx"))
    ]


jobs = int(os.environ.get("BIDHALL_JOBS", os.cpu_count() or 1))
packages = find_namespace_packages("src", exclude=["*__pycache__*", "*.egg-info*"])

setup(
    package_dir={"": "src", f"{PACKAGE}.{ROOM}": FOLDER},
    packages=sorted({*packages, f"{PACKAGE}.{ROOM}"}),
    package_data={
        PACKAGE: ["py.typed", "web/static/**/*"],
        f"{PACKAGE}.{ROOM}": ["*.pyx", "*.pxi", "*.pxd", "*.pyi", "*.md"],
    },
    ext_modules=cythonize(
        extensions(),
        include_path=[include_tree(), FOLDER],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        nthreads=0,
    ),
    options={"build_ext": {"parallel": jobs}},
)
