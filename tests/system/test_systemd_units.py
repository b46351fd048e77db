"""The unit files, as systemd itself judges them: without complaint, sandboxed, as the docs promise."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
# 1.5 of 10; what is left is the network, which a daemon of this kind is for.
EXPOSURE_IN_TENTHS = 15


def needs(program):
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"{program} is missing: the units are not checked"
    )


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def settings(name):
    """Return the settings of a unit as a list of lines, comments left out."""
    return [line for line in (UNITS / name).read_text().splitlines() if line and not line.startswith("#")]


@pytest.fixture
def machine(tmp_path):
    """A root folder that looks like a machine on which wharfd was installed as the README says."""
    etc = tmp_path / "etc/systemd/system"
    usr = tmp_path / "usr/lib/systemd/system"
    etc.mkdir(parents=True)
    usr.mkdir(parents=True)
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.socket")]:
        shutil.copy(unit, etc)
    for pattern in ("*.target", "*.slice", "*.mount"):
        for unit in SYSTEM_UNITS.glob(pattern):
            shutil.copy(unit, usr, follow_symlinks=True)
    for program in ("opt/wharfd/bin/wharfd", "bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def verify(machine, *units):
    return run("systemd-analyze", "verify", "--man=no", f"--root={machine}", *units)


@needs("systemd-analyze")
def test_every_unit_verifies_without_a_word(machine):
    found = verify(
        machine,
        "wharfd.service",
        "wharfd.socket",
        "wharfd-api.socket",
        "wharfd@eu.service",
        "wharfd@eu.socket",
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@needs("systemd-analyze")
def test_the_check_would_find_a_typing_error(machine):
    unit = machine / "etc/systemd/system/wharfd.service"
    unit.write_text(unit.read_text().replace("Restart=on-failure", "Restrat=on-failure"))
    assert "Unknown key 'Restrat'" in verify(machine, "wharfd.service").stderr


@needs("systemd-analyze")
@pytest.mark.parametrize("drop_in", ["backups.conf", "master-key.conf", "notify-reload.conf"])
def test_the_drop_ins_verify(machine, drop_in):
    version = int(re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)[1])
    if drop_in == "notify-reload.conf" and version < 253:
        pytest.skip(f"Type=notify-reload begins with systemd 253, this is {version}")
    folder = machine / "etc/systemd/system/wharfd.service.d"
    folder.mkdir()
    shutil.copy(UNITS / "drop-ins" / drop_in, folder)
    found = verify(machine, "wharfd.service")
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_drop_in_opens_the_folders_of_the_documented_backups_and_the_readme_makes_them():
    words = (UNITS.parent / "docs/backups.md").read_text()
    wanted = re.findall(r'^(?:folder|incoming) = "(.+?)"', words, re.MULTILINE)
    paths = next(line for line in settings("drop-ins/backups.conf") if line.startswith("ReadWritePaths="))
    made = re.search(
        r"^install -d .* wharfd ((?:/var/\S+ ?)+)$", (UNITS / "README.md").read_text(), re.MULTILINE
    )
    opened = paths.partition("=")[2].split()
    assert len(wanted) == 2
    assert [path.lstrip("-") for path in opened] == wanted == made[1].split()
    assert opened[1].startswith("-")  # who has no such folder starts all the same


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", ["wharfd.service", "wharfd@.service"])
def test_the_sandbox_is_tight(unit):
    found = run(
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE_IN_TENTHS}",
        str(UNITS / unit),
    )
    assert "Overall exposure level" in found.stdout, found.stderr
    assert found.returncode == 0, found.stdout.splitlines()[-1]


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", ["wharfd.service", "wharfd@.service"])
def test_the_filter_lets_work_step_back_and_nothing_more(unit):
    """`nice` makes one system call, and `@resources` holds it: refused, every drill would take its full share."""
    resources, allowed = members("@resources"), set()
    for line in settings(unit):
        if line.startswith("SystemCallFilter="):
            names = line.partition("=")[2]
            found = {call for name in names.lstrip("~").split() for call in members(name)}
            allowed = allowed - found if names.startswith("~") else allowed | found
    assert allowed & resources == {"setpriority"}
    assert {"execve", "clone", "pidfd_open", "pidfd_send_signal", "kill", "sync", "syncfs"} <= allowed
    assert not allowed & {"mount", "ptrace", "chroot", "setuid", "chown", "bpf", "reboot"}


def members(name):
    """Return the system calls of a set such as @resources, those of the sets in it too."""
    if not name.startswith("@"):
        return {name}
    said = run("systemd-analyze", "syscall-filter", name).stdout.split("\n")[1:]
    words = [line.strip() for line in said if line.strip() and not line.strip().startswith("#")]
    return {call for word in words for call in members(word)}


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
def test_the_user_and_the_configuration_folder_are_made_as_said(tmp_path):
    for kind in ("sysusers", "tmpfiles"):
        folder = tmp_path / f"usr/lib/{kind}.d"
        folder.mkdir(parents=True)
        shutil.copy(UNITS / f"wharfd.{kind}.conf", folder / "wharfd.conf")
    configuration = tmp_path / "etc/wharfd"
    configuration.mkdir(parents=True)
    for name in ("wharfd.toml", "master.key"):
        (configuration / name).touch(0o666)
    users = run("systemd-sysusers", f"--root={tmp_path}")
    assert users.returncode == 0, users.stderr
    lines = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    user = next(line for line in lines if line[0] == "wharfd")
    assert user[4:] == ["wharfd daemon", "/var/lib/wharfd", "/usr/sbin/nologin"]
    # Only root may give files away; for others it is checked that the file is understood.
    scope = "/etc/wharfd" if os.geteuid() == 0 else "/nothing"
    files = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", f"--prefix={scope}")
    assert (files.returncode, files.stderr) == (0, "")
    if os.geteuid() == 0:
        group = int(user[3])
        for name, mode, owner in (
            ("", 0o750, group),
            ("wharfd.toml", 0o640, group),
            ("master.key", 0o600, 0),
        ):
            status = (configuration / name).stat()
            assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (mode, 0, owner)


def test_the_instances_differ_from_the_single_daemon_in_names_only():
    single = "\n".join(settings("wharfd.service"))
    instance = "\n".join(settings("wharfd@.service"))
    assert single == (
        instance.replace(" (%i)", "")
        .replace("wharfd/%i.toml", "wharfd/wharfd.toml")
        .replace("wharfd-%i", "wharfd")
        .replace(
            "After=network-online.target wharfd@%i.socket",
            "After=network-online.target wharfd.socket wharfd-api.socket",
        )
        .replace(
            "Wants=network-online.target wharfd@%i.socket",
            "Wants=network-online.target wharfd-api.socket\nRequires=wharfd.socket",
        )
        .replace("wharfd@%i.socket", "wharfd.socket wharfd-api.socket")
    )


@pytest.mark.parametrize("unit", ["wharfd.service", "wharfd@.service"])
def test_what_the_daemon_relies_on_is_set(unit):
    lines = settings(unit)
    for line in (
        "Type=notify",
        "NotifyAccess=main",
        "RestartPreventExitStatus=78",
        "WatchdogSec=30",
        "FileDescriptorStoreMax=64",
        "KillMode=mixed",
        "ProtectSystem=strict",
        "User=wharfd",
    ):
        assert line in lines
    # systemd heeds RestartPreventExitStatus= for ExecStart= alone.
    assert not any(line.startswith("ExecStartPre=") for line in lines)
    assert lines.index(next(line for line in lines if " check " in line)) < lines.index(
        "ExecReload=/bin/kill -HUP $MAINPID"
    )


@pytest.mark.parametrize(
    ("unit", "name"),
    [("wharfd.socket", "ingest"), ("wharfd-api.socket", "api"), ("wharfd@.socket", "ingest")],
)
def test_each_socket_has_the_name_the_daemon_looks_for(unit, name):
    assert f"FileDescriptorName={name}" in settings(unit)
    assert any(line.startswith("ListenStream=") for line in settings(unit))


def test_the_readme_names_every_file():
    readme = (UNITS / "README.md").read_text()
    for path in UNITS.rglob("*"):
        if path.is_file() and path.name not in ("README.md", ".gitkeep"):
            assert f"`{path.relative_to(UNITS)}`" in readme
