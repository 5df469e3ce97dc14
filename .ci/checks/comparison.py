"""What the comparisons of larder with other servers share: servers to compare, rounds, and what differs."""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time


class Peer:
    """A server to compare with: its program, how `program <ask>` names a version that will do, and its arguments."""

    def __init__(self, program, ask, version, arguments):
        self.program, self.ask, self.version, self.arguments = program, ask, version, arguments

    def why_not(self):
        """Why this machine has none that will do; None if it has one."""
        if shutil.which(self.program) is None:
            return f"{self.program}, which is not installed"
        shown = subprocess.run([self.program, self.ask], capture_output=True, text=True).stdout.strip()
        return None if self.version in shown else f"{self.program} of another version: {shown}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    sys.exit(f"error: {command[0]} does not listen")


def run(description, peer, larder_arguments, run_round):
    """Compares for as long as the command line says, and returns the exit status.

    Both lists of arguments are made by functions, of the port and of an empty folder. `run_round(seed, ports,
    report)` is given the ports of larder and of the peer, and calls `report(seed, history, what, ours, theirs)`
    where they differ.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--larder", default="target/debug/larder")
    parser.add_argument("--larder-port", type=int)
    parser.add_argument("--peer-port", type=int)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1 << 60)
    parser.add_argument("--max-differences", type=int, default=20)
    options = parser.parse_args()
    processes, ports = [], [options.larder_port, options.peer_port]
    with tempfile.TemporaryDirectory() as folder:
        try:
            if ports[1] is None:
                reason = peer.why_not()
                if reason is not None:
                    print(f"SKIPPED: comparison with {reason}")
                    return 0
                ports[1] = free_port()
                processes.append(start([peer.program, *peer.arguments(ports[1], folder)], ports[1]))
            if ports[0] is None:
                ports[0] = free_port()
                larder = [os.path.abspath(options.larder), "serve", "--threads", "2"]
                processes.append(start([*larder, *larder_arguments(ports[0], folder)], ports[0]))
            return _compare(options, ports, peer.program, run_round)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def _compare(options, ports, name, run_round):
    differences = []

    def report(seed, history, what, ours, theirs):
        differences.append(seed)
        print(f"seed {seed}: {what}\n  last: {history[-1]}\n  larder: {ours}\n  {name}: {theirs}")
        print(f"  before: {history[:-1]}" if options.rounds == 1 else "", flush=True)
        return False

    end, seed = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < end and seed - options.seed < options.rounds:
        run_round(seed, ports, report)
        seed += 1
        if len(differences) >= options.max_differences:
            break
    print(f"{seed - options.seed} rounds from seed {options.seed}, {len(differences)} with a difference")
    return 1 if differences else 0
