"""The way for devices that have a runtime's benchmark program and no Python: the commands to run there, as a shell script.

What the programs tell is read by latency_tables.kit.programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latency_tables.on_device.openvino import HINTS
from latency_tables.on_device.tensorrt import FLAGS

PROGRAMS = {"openvino": "benchmark_app", "tensorrt": "trtexec"}
KERNEL_RUNS, NETWORK_RUNS = 15, 40
SCRIPT = """#!/bin/sh
# Measures this kit by {program} alone: for devices without Python. Where Python and numpy are, measure.py does it better.
# Stop it as you like: what is in out/ stays, and the same command goes on. Copy the whole folder back when it is done.
#   LIMIT=300 (seconds)  THREADS={threads}  PROGRAM={program}  sh commands.sh
cd "$(dirname "$0")" || exit 1
program=${{PROGRAM:-{program}}} limit=${{LIMIT:-{limit}}} threads=${{THREADS:-{threads}}}
mkdir -p out || exit 1
fact() {{ sed -n "s/^$1[[:space:]]*: //p" /proc/cpuinfo 2>/dev/null | head -n 1; }}
name=$(fact "model name") family=$(fact "cpu family") number=$(fact "model")
if [ -n "$name" ]; then name="$name (family ${{family:-?}}, model ${{number:-?}})"; else name=$(uname -m); fi
board=$(tr -d '\\0' 2>/dev/null < /proc/device-tree/model)
{{ echo "host=$(uname -n)"; echo "processor=$name"; echo "board=$board"; echo "threads=$threads"; }} > out/device.new
if [ -e out/device.txt ] && ! cmp -s out/device.new out/device.txt; then
  echo "error: out/ was measured on another device or with other threads; unpack the kit anew for each device" >&2; exit 2
fi
mv out/device.new out/device.txt
started=$(date +%s) place=0 failed=0
for model in {models}; do
  place=$((place + 1))
  [ -e "out/$model.txt" ] && continue
  spent=$(($(date +%s) - started))
  if [ "$spent" -ge "$limit" ]; then
    echo "time is up before model $place of {number}; run the same command to go on"; break
  fi
  echo "model $place of {number}, $spent of at most $limit s"
  rm -rf out/now; mkdir out/now
  case $model in
    k*) set -- {kernels} ;;
    *) set -- {networks} ;;
  esac
  if "$program" {every} "$@" > out/now/log.txt 2>&1; then
    if [ -e "out/now/{profile}" ]; then mv "out/now/{profile}" "out/$model.{suffix}"; fi
    mv out/now/log.txt "out/$model.txt"
  else
    failed=$((failed + 1)); echo "$model failed: $(tail -n 1 out/now/log.txt)" >&2
    if [ "$failed" -ge 5 ]; then echo "error: $program failed on $failed models; see out/now/log.txt" >&2; exit 1; fi
  fi
done
rm -rf out/now
echo "copy this folder back, then: tinynas profile --name CHIP --collect FOLDER"
"""


def command_script(runtime: str, precision: str, described: Mapping[str, Any]) -> str:
    """A POSIX shell script that runs the program on every model of a kit (`described`: its kit.json), in its order."""
    order = [described["models"][index]["file"] for group in described["groups"] for index in group]
    first = sum(len(group) for group in described["groups"][: described["groups_before_detectors"]])
    detectors = [item["file"] for item in described["detectors"]]
    models = [file.removesuffix(".onnx") for file in [*order[:first], *detectors, *order[first:]]]
    if runtime == "openvino":
        options = {
            "every": f'-m "models/$model.onnx" -d CPU -api sync -hint none -nstreams 1 -nthreads "$threads" -ip f32 '
            f"-infer_precision {HINTS[precision]}",
            "kernels": f"-niter {KERNEL_RUNS} -pc -report_type average_counters -report_folder out/now",
            "networks": f"-niter {NETWORK_RUNS}",
            "profile": "benchmark_average_counters_report.csv",
            "suffix": "csv",
        }
    else:
        flags = " ".join(f"--{flag.lower()}" for flag in FLAGS[precision])
        options = {
            "every": f'--onnx="models/$model.onnx" --noTF32 {flags} --timingCacheFile=out/timing.cache '
            "--noDataTransfers --useSpinWait",
            "kernels": f"--iterations={KERNEL_RUNS} --duration=0 --dumpProfile --exportProfile=out/now/profile.json",
            "networks": f"--iterations={NETWORK_RUNS} --duration=0",
            "profile": "profile.json",
            "suffix": "json",
        }
    return SCRIPT.format(
        program=PROGRAMS[runtime], limit=round(60 * described["header"]["minutes"]), number=len(models),
        threads=described["header"]["threads"], models=" ".join(models), **options,
    )  # fmt: skip
