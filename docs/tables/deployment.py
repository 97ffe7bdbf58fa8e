"""Tables of what deployment was put through: server, runtime, rehearsal, latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from tables import Table

Rows = list[tuple[str, str]]
MEASURED = ("", "measured")
"""Header of tables of single figures."""


def server_table(path: Path) -> Table:
    """What the policy server was put through, and what came of it; parts that were not run are left out."""
    records = {record["part"]: record for record in read_json(path)}
    return MEASURED, _rows_of_parts(records, SERVER_PARTS)


def load_rows(load: Mapping[str, Any]) -> Rows:
    """Many clients at once."""
    return [
        ("clients at 10 Hz", f"{load['clients_served']} of {load['clients']} served, for {load['seconds']:.0f} s"),
        ("their calls answered", f"{load['answered']} of {load['calls']}"),
        ("latency p50, p99", f"{load['p50_ms']:.0f} ms, {load['p99_ms']:.0f} ms"),
        ("load average of the machine, cores", f"{load['load_average']}, {load['machine']['cores']}"),
    ]


def hostile_rows(hostile: Mapping[str, Any]) -> Rows:
    """Malformed and malicious messages."""
    honest = hostile["honest_client"]
    half = min(hostile["usage"], key=lambda sample: abs(sample["messages"] - hostile["messages"] / 2))
    memory = [f"{sample['rss_mb']:.1f} MB" for sample in (hostile["after_warm_up"], half, hostile["after"])]
    return [
        ("hostile messages", f"{hostile['messages']}, {len(hostile['outcomes'])} kinds"),
        ("crashes, messages without a reaction", f"{hostile['crashes']}, {hostile['unanswered']}"),
        ("resident memory after 10 % of them → half → all", " → ".join(memory)),
        ("files and tasks, before → at the end", _pair(hostile, "files") + "; " + _pair(hostile, "tasks")),
        ("calls of an honest client meanwhile", f"{honest['answered']} of {honest['calls']} answered"),
    ]


def kill_rows(kill: Mapping[str, Any]) -> Rows:
    """Sudden deaths of the server."""
    return [
        ("`kill -9` of the server", f"{kill['kills']}, with {kill['clients']} clients"),
        ("calls that took longer than their timeout", f"{kill['calls_beyond_timeout']} of {kill['calls']}"),
        ("clients not served again", str(kill["clients_never_back"])),
        ("answers that differ from those before the kill", str(kill["answers_different"])),
    ]


SERVER_PARTS = {"load": load_rows, "hostile": hostile_rows, "kill": kill_rows}


def latency_table(path: Path) -> Table:
    """Single decisions of every policy, with torch and with ONNX Runtime."""
    result = read_json(path)
    header = ("policy", "run by", "wall p50", "wall p99", "processor p50", "processor p99", "largest difference")
    rows = []
    for record in result["records"]:
        network = f"{record['network']['kind']} {' '.join(map(str, record['network']['widths']))}"
        difference = f"{record['largest_difference']:.1e} {record['action_unit']}, n = {record['observations']}"
        for runtime, latency in record["latency"].items():
            figures = (
                f"{latency[f'{clock}_{p}_ms']:.2f} ms" for clock in ("wall", "processor") for p in ("p50", "p99")
            )
            compared = difference if runtime == "onnxruntime" else "–"
            rows.append((f"{record['policy']} ({network})", runtime, *figures, compared))
    rows.append((f"load average of the machine: {result['load_average']}", *[""] * 6))
    return header, rows


def _pair(record: Mapping[str, Any], name: str) -> str:
    return f"{record['before'][name]} → {record['after'][name]}"


def runtime_table(path: Path) -> Table:
    """Kills of client and robot, and the long drive; parts that were not run are left out."""
    return MEASURED, _rows_of_parts(read_json(path), RUNTIME_PARTS)


def runtime_kill_rows(kills: Mapping[str, Any]) -> Rows:
    """Sudden deaths of the policy's process and of the robot's."""
    clients, robots = kills["client_kills"], kills["robot_kills"]
    return [
        ("`kill -9` of the process that runs the policy", str(clients)),
        ("robot at rest, and staying so", f"{kills['robot_at_rest_after_client_kill']} of {clients}"),
        ("until it rests, longest", f"{kills['seconds_to_rest_max']:.2f} s"),
        ("control steps that a recording lost, most", str(kills["steps_lost_max"])),
        ("`kill -9` of the robot process", str(robots)),
        ("client ended by itself", f"{kills['client_ended_by_itself']} of {robots}"),
        ("recordings whole", f"{kills['recordings_whole']} of {robots}"),
        ("restarted robot at rest", f"{kills['robot_restarted_at_rest']} of {robots}"),
    ]


def endurance_rows(drive: Mapping[str, Any]) -> Rows:
    """Episode after episode in real time."""
    latency, decision = drive["latency_ms"], drive["decision_ms"]
    client, robot = drive["client_memory_mb"], drive["robot_memory_mb"]
    return [
        ("driven at 10 Hz", f"{drive['wall_s'] / 60:.0f} min, {drive['episodes']} episodes"),
        ("missed deadlines", f"{drive['missed_deadlines']} of {drive['control_steps']} control steps"),
        ("measurement to command p50, p99, longest", _milliseconds(latency, "p50", "p99", "p100")),
        ("decision p50, p99, longest", _milliseconds(decision, "p50", "p99", "p100")),
        ("resident memory of the client, after a quarter → at the end", f"{client[0]:.1f} MB → {client[1]:.1f} MB"),
        ("the same of the robot process", f"{robot[0]:.1f} MB → {robot[1]:.1f} MB"),
    ]


RUNTIME_PARTS = {"kills": runtime_kill_rows, "endurance": endurance_rows}


def rehearsal_table(path: Path) -> Table:
    """Deployed over the wire against in-process, on the same episodes."""
    found = read_json(path)
    n = found["n"]

    def successes(way: str) -> str:
        low, high = (100 * bound for bound in found[f"{way}_wilson95"])
        return f"{100 * found[f'{way}_successes'] / n:.1f} % [{low:.0f}, {high:.0f}]"

    low, high = (100 * bound for bound in found["difference_95"])
    difference = f"{100 * found['difference']:+.1f} points [{low:+.1f}, {high:+.1f}], p = {found['mcnemar_p']:.2f}"
    return MEASURED, [
        ("world, robot, episodes", f"{found['world']}, {found['robot_seed']}, n = {n}"),
        ("success in-process", successes("in_process")),
        ("success deployed, in real time", successes("deployed")),
        ("deployed − in-process, paired", difference.replace("-", "−")),
        ("episodes with the same commands, to the bit", f"{found['identical_episodes']} of {n}"),
        ("missed deadlines", f"{found['missed_deadlines']} of {found['control_steps']} control steps"),
        ("measurement to command p50, p99", f"{found['latency_p50_ms']:.1f} ms, {found['latency_p99_ms']:.1f} ms"),
    ]


def _rows_of_parts(
    records: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Callable[[Mapping[str, Any]], Rows]]
) -> Rows:
    return [row for part, rows_of in parts.items() if part in records for row in rows_of(records[part])]


def _milliseconds(figures: Mapping[str, float], *names: str) -> str:
    return ", ".join(f"{figures[name]:.1f} ms" for name in names)
