#!/usr/bin/env python3
"""What is wrong with a command line or a flags file is said in one line each, and nothing starts."""

import os
import subprocess
import unittest

from lib import logline, net, places, story
from lib.daemon import PATIENCE, Parkway
from lib.peer import Link, Server
from lib.process import run

UPSTREAM = "--upstream=127.0.0.1:1"


class Flags(story.Story):

    def setUp(self):
        self.own = self.folder()
        self.listen = f"--listen=127.0.0.1:{net.free_port()}"

    def parkway(self, *arguments, **options):
        """(exit code, stdout, lines of stderr)."""
        code, out, err = run([places.parkway_binary(), *arguments], 20 * places.PATIENCE,
                             check=False, **options)
        return code, out, err.splitlines()

    def file(self, text, name="parkway.flags"):
        path = os.path.join(self.own, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def assert_refused(self, arguments, *patterns):
        """At start with 78, with --check with 1: a line for each pattern, and nothing else."""
        for more, expected in (([], 78), (["--check"], 1)):
            code, out, lines = self.parkway(*arguments, *more)
            self.assertEqual((code, out), (expected, ""), lines)
            self.assertEqual(len(lines), len(patterns), lines)
            for line, pattern in zip(lines, patterns):
                self.assertRegex(line, pattern)
                self.assertNotIn("***", line)  # a stack trace
            if not more:
                self.assertLess(max(map(len, lines)), 300)


class Values(Flags):

    def refused(self, flag, *patterns):
        arguments = [self.listen, UPSTREAM]
        name = flag.partition("=")[0]
        self.assert_refused([a for a in arguments if not a.startswith(name + "=")] + [flag],
                            *patterns)

    def test_a_port_beyond_65535(self):
        self.refused("--listen=:99999", r"--listen: .*99999.*port")

    def test_an_address_that_is_nonsense(self):
        self.refused("--listen=nonsense", r"--listen: .*nonsense.*address.*IP:PORT")

    def test_an_address_to_listen_on_that_is_a_name(self):
        self.refused("--listen=example.com:80", r"--listen: .*example\.com.*name")

    def test_a_duration_without_a_unit(self):
        self.refused("--idle_timeout=5", r"--idle_timeout: .*\b5\b.*unit.*\b5s\b")

    def test_a_duration_below_zero(self):
        self.refused("--idle_timeout=-1s", r"--idle_timeout: .*-1s.*negative")

    def test_a_flag_that_is_misspelt(self):
        self.refused("--thread=4", r"--thread: .*did you mean --threads\?")

    def test_a_flag_of_the_libraries_below(self):
        self.refused("--logtostderr=1", r"--logtostderr: .*no such flag")

    def test_numbers_words_and_values_that_do_not_fit(self):
        self.refused("--threads=0", r"--threads: .*0.*small")
        self.refused("--threads=many", r"--threads: .*many")
        self.refused("--access_log=syslog", r"--access_log: .*syslog.*off, stderr, stdout, file:PATH")
        self.refused("--drain_timeout", r"--drain_timeout: .*value")
        self.refused("--backlog=", r"--backlog: ")
        self.refused("extra", r"extra.*not a flag")

    def test_more_connections_than_descriptors(self):
        code, _, lines = self.parkway(self.listen, UPSTREAM, "--max_connections=1000000")
        self.assertEqual((code, len(lines)), (78, 1), lines)
        self.assertRegex(lines[0], r"--max_connections: .*1000000.*(descriptors|open files)")

    def test_an_upstream_that_is_the_listener(self):
        port = net.free_port()
        for listen, upstream in ((f"127.0.0.1:{port}", f"127.0.0.1:{port}"),
                                 (f"[::1]:{port}", f"[::1]:{port}"),
                                 (f":{port}", f"127.0.0.1:{port}"),
                                 (f":{port}", f"[::1]:{port}"),
                                 (f"0.0.0.0:{port}", f"127.0.0.1:{port}"),
                                 (f"127.0.0.1:{port}", f"0.0.0.0:{port}"),
                                 ("unix:/tmp/loop.sock", "unix:/tmp/loop.sock"),
                                 ("unix:@loop", "unix:@loop")):
            self.assert_refused([f"--listen={listen}", f"--upstream=127.0.0.1:1,{upstream}"],
                                r"--upstream: .*our own listener")

    def test_a_loop_over_another_address_of_this_machine_is_found_at_start(self):
        if not net.isolated():
            self.skipTest("needs a network of its own")
        run(["ip", "addr", "replace", "198.51.100.7/32", "dev", "lo"])
        port = net.free_port()
        code, _, lines = self.parkway(f"--listen=:{port}", f"--upstream=198.51.100.7:{port}")
        self.assertEqual((code, len(lines)), (78, 1), lines)
        self.assertRegex(lines[0], r"--upstream: .*our own listener")

    def test_nothing_at_all(self):
        self.assert_refused([], r"neither --listen nor --upstream .*--help")

    def test_one_half(self):
        self.assert_refused([self.listen], r"--upstream")
        self.assert_refused([UPSTREAM], r"--listen")


class Files(Flags):

    def refused(self, path, *patterns):
        self.assert_refused([self.listen, UPSTREAM, f"--flagfile={path}"], *patterns)

    def test_a_file_that_is_a_folder(self):
        self.refused(self.own, r"--flagfile: .*directory")

    def test_a_file_that_is_not_there(self):
        self.refused(f"{self.own}/nothing", r"--flagfile: .*nothing.*No such file")

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_file_that_may_not_be_read(self):
        path = self.file("--threads=2\n")
        os.chmod(path, 0)
        self.refused(path, r"--flagfile: .*Permission denied")

    def test_a_file_that_is_not_utf8(self):
        path = self.file(b"# caf\xe9\n--threads=2\n")
        self.refused(path, rf"{path}:1:\d+: .*UTF-8")

    def test_a_file_that_includes_itself(self):
        path = self.file("--threads=2\n--flagfile=parkway.flags\n")
        self.refused(path, rf"{path}:2:\d+: --flagfile: .*includes itself")

    def test_files_that_include_each_other(self):
        self.file("--flagfile=b.flags\n", "a.flags")
        self.file("--flagfile=a.flags\n", "b.flags")
        self.refused(f"{self.own}/a.flags", r"b\.flags:1:\d+: --flagfile: ")

    def test_a_line_without_dashes(self):
        path = self.file("# threads\nthreads=4\n")
        self.refused(path, rf"{path}:2:\d+: .*threads=4.*--NAME=VALUE")

    def test_the_same_scalar_twice(self):
        path = self.file("--threads=4\n\n--threads=5\n")
        self.refused(path, rf"{path}:3:\d+: --threads: .*{path}:1")

    def test_all_that_is_wrong_is_said_at_once_a_line_each(self):
        path = self.file("--thread=4\n--idle_timeout=5\n--backlog=-3\n--delayed_close=1s\n")
        self.refused(path, rf"{path}:1:\d+: --thread: ", rf"{path}:2:\d+: --idle_timeout: ",
                     rf"{path}:3:\d+: --backlog: ")

    def test_a_file_of_zeros_and_a_file_without_an_end(self):
        path = self.file(bytes(4096))
        self.refused(path, rf"{path}:1:\d+: ")
        self.refused("/dev/zero", r"/dev/zero")

    def test_a_file_that_is_right_starts_the_daemon(self):
        server = self.started(Server())
        address = f"127.0.0.1:{net.free_port()}"
        path = self.file(f"# all of it\n--listen={address} name=front\n\n"
                         f"--upstream={server.address} name=back\n--threads=2\n"
                         "--drain_timeout=1s\n")
        code, out, lines = self.parkway("--check", f"--flagfile={path}")
        self.assertEqual((code, lines), (0, []), out)
        parkway = self.started(Parkway.from_flags([f"--flagfile={path}"], address))
        link = Link(address, server)
        self.addCleanup(link.close)
        link.client.leave()
        link.server.leave()
        line = parkway.closing_line(link.client.address)
        self.assertEqual((line["listener"], line["upstream"]), ("front", "back"))
        parkway.finish()


class Answers(Flags):

    def test_version_is_one_line_and_0(self):
        code, out, lines = self.parkway("--version")
        self.assertEqual((code, lines), (0, []))
        self.assertRegex(out, r"\Aparkway \d+\.\d+(\.\d+)?\n\Z")

    def test_help_shows_our_flags_with_defaults_and_units_and_no_others(self):
        code, out, lines = self.parkway("--help")
        self.assertEqual((code, lines), (0, []))
        for flag, default in (("listen", ""), ("upstream", ""), ("threads", "auto"),
                              ("connect_timeout", "5s"), ("idle_timeout", "1h"),
                              ("half_close_timeout", "5m"), ("delayed_close", "1s"),
                              ("drain_timeout", "30s"), ("max_connections", "auto"),
                              ("backlog", "4096"), ("access_log", "stderr"),
                              ("stats_interval", "off"), ("flagfile", ""), ("check", ""),
                              ("version", ""), ("help", "")):
            self.assertRegex(out, rf"--{flag}\b[^\n]*{default}")
        for foreign in ("logtostderr", "minloglevel", "stderrthreshold", "helpxml", "tab_completion"):
            self.assertNotIn(foreign, out)
        self.assertLess(max(map(len, out.splitlines())), 101)

    def test_check_of_what_is_right_says_so_and_binds_nothing(self):
        server = self.started(Server())  # its address is taken, and that is no matter
        code, out, lines = self.parkway("--check", f"--listen={server.address}", UPSTREAM)
        self.assertEqual((code, lines), (0, []))
        self.assertRegex(out, r"\A(.*valid.*\n)?\Z")

    def test_a_reader_of_help_who_leaves_early_is_no_crash(self):
        with subprocess.Popen([places.parkway_binary(), "--help"], stdout=subprocess.PIPE) as child:
            child.stdout.close()
        self.assertIn(child.returncode, (0, -13))


class Meaning(Flags):
    """A few flags whose effect only the whole daemon shows."""

    def start_line(self, parkway):
        return logline.fields(parkway.wait_line(lambda line: " started" in line, PATIENCE,
                                                "its start line"))

    def test_threads_auto_is_the_affinity_mask(self):
        address = f"127.0.0.1:{net.free_port()}"
        for processors in (1, len(os.sched_getaffinity(0))):
            parkway = self.started(Parkway.from_flags(
                [f"--listen={address}", UPSTREAM], address,
                before=["taskset", "-c", ",".join(map(str, sorted(
                    os.sched_getaffinity(0))[:processors]))]))
            self.assertEqual(self.start_line(parkway)["workers"], str(processors))
            parkway.finish()

    def test_a_port_alone_listens_on_both_families(self):
        server = self.started(Server())
        port = net.free_port()
        self.started(Parkway(f":{port}", server.address))
        for front in (f"127.0.0.1:{port}", f"[::1]:{port}"):
            link = Link(front, server)
            link.close()

    def test_a_port_alone_is_ipv4_where_ipv6_is_off(self):
        if not net.isolated():
            self.skipTest("needs a network of its own")
        for name in ("all", "lo"):
            before = net.sysctl(f"net.ipv6.conf.{name}.disable_ipv6")
            self.addCleanup(net.sysctl, f"net.ipv6.conf.{name}.disable_ipv6", before)
            net.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", 1)
        server = self.started(Server())
        port = net.free_port()
        self.started(Parkway(f":{port}", server.address))
        Link(f"127.0.0.1:{port}", server).close()

    def test_idle_timeout_off_is_off(self):
        server = self.started(Server())
        address = f"127.0.0.1:{net.free_port()}"
        for off in ("off", "0", "0s"):
            parkway = self.started(Parkway(address, server.address, idle_timeout=off))
            link = Link(address, server)
            link.client.sees_nothing(0.3)
            link.close()
            parkway.finish()

    def test_undefok_and_fromenv(self):
        code, _, lines = self.parkway("--check", self.listen, UPSTREAM, "--undefok=future",
                                      "--future=1")
        self.assertEqual((code, lines), (0, []))
        code, _, lines = self.parkway("--check", self.listen, UPSTREAM, "--fromenv=threads",
                                      env={**os.environ, "FLAGS_threads": "none"})
        self.assertEqual((code, len(lines)), (1, 1), lines)
        self.assertRegex(lines[0], r"FLAGS_threads.*none|threads.*none")

    def test_backlog_is_the_length_of_the_queue(self):
        server = self.started(Server())
        address = f"127.0.0.1:{net.free_port()}"
        self.started(Parkway(address, server.address, backlog=7, max_connections=1))
        _, out, _ = run(["ss", "-Hltn", f"sport = :{address.rsplit(':', 1)[1]}"])
        self.assertEqual(out.split()[2], "7", out)


if __name__ == "__main__":
    story.main()
