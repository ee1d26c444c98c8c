"""Watts of a Jetson while something runs: from its INA sensors, else from what tegrastats prints.

    VDD_IN 4761mW/4778mW                     JetPack 6: now / on average
    VDD_GPU 37528mW/37528mW/37528mW          JetPack 7.2: now / on average / at most

A rail may be below zero by its calibration.
"""

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

RAIL = re.compile(r"\b([PV][A-Z0-9_]+) (-?\d+)(?:mW)?/-?\d+")
WHOLE = ("VDD_IN", "VIN", "POM_5V_IN")  # what all of a board draws, where that is a rail
WITHIN = ("VDDQ_",)  # rails that lie behind another one
HWMON = Path("/sys/class/hwmon")


def rails(line):
    """{rail: mW now} of a line of tegrastats."""
    return {name: int(now) for name, now in RAIL.findall(line)}


def sensors(root=HWMON):
    """{rail: mW now} of the INA chips' own files; empty where there are none."""
    found = {}
    for chip in sorted(Path(root).glob("hwmon*")):
        if not text(chip / "name").startswith("ina"):
            continue
        for label in sorted(chip.glob("in*_label")):
            number = label.name[2:-6]
            volts, amperes = text(chip / f"in{number}_input"), text(chip / f"curr{number}_input")
            if volts and amperes:  # mV and mA
                found[text(label)] = int(volts) * int(amperes) / 1000
    return found


def text(path):
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def total(milliwatts):
    """W of the whole board from {rail: mW}: its own rail, else the sum of those that are apart;
    None of none."""
    for name in WHOLE:
        if name in milliwatts:
            return milliwatts[name] / 1000
    apart = [mw for name, mw in milliwatts.items() if not name.startswith(WITHIN)]
    return sum(apart) / 1000 if apart else None


class Meter:
    """with Meter() as meter: ...; then meter.watts is the mean, None where nothing can be read,
    and meter.rails the mean of each rail in mW."""

    def __init__(self, interval=0.1):
        self.interval, self.seen, self.stop = interval, [], threading.Event()
        self.process, self.thread, self.rails, self.watts = None, None, {}, None

    def __enter__(self):
        if sensors():
            self.thread = threading.Thread(target=self.poll, daemon=True)
        elif command := shutil.which("tegrastats"):
            words = [command, "--interval", str(int(1000 * self.interval))]
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            self.thread = threading.Thread(target=self.listen, daemon=True)
        if self.thread:
            self.thread.start()
        return self

    def poll(self):
        while not self.stop.wait(self.interval):
            self.seen.append(sensors())

    def listen(self):
        for line in self.process.stdout:
            self.seen.append(rails(line))

    def __exit__(self, *_):
        if self.process and not self.seen:
            time.sleep(2 * self.interval)  # tegrastats has said nothing yet
        self.stop.set()
        if self.process:
            self.process.terminate()
            self.process.wait()
        if self.thread:
            self.thread.join()
        seen = [found for found in self.seen if found]
        names = {name for found in seen for name in found}
        mean = lambda name: sum(found.get(name, 0) for found in seen) / len(seen)
        self.rails = {name: mean(name) for name in sorted(names)}
        self.watts = total(self.rails)
