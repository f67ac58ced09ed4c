#!/usr/bin/env python3
"""Servers that come and go by the thousand: what is known of those that are gone is forgotten, and
nobody is taken for another."""

import collections
import os

from lib import net, procfs, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.greeter import Connection, Greeter
from lib.process import until

WORKERS = (1, 4)
BATCHES = 8
CHANGES = 40
MEMBERS = 10


def address(number):
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


class Slots(story.Story):

    def write(self, numbers):
        path = os.path.join(self.work, "servers")
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write("".join(f"--server=name=s{n} addr={address(n)}:{self.port}\n"
                               for n in numbers))
        os.rename(path + ".new", path)
        return path

    def meet(self, allowed, wanted):
        """Connects until one of `wanted` answers; nobody but `allowed` does."""
        def met():
            connection = Connection(self.listen)
            self.met[connection.name()] = f"{connection.server}:{self.port}"
            self.total[self.names[connection.server]] += 1
            connection.close()
            self.assertIn(connection.server, allowed)
            return connection.server in wanted

        until(met, PATIENCE, f"a client is answered by one of {wanted}")

    def test_slots_are_used_again_and_memory_stays_as_it_is(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.come_and_go(threads)
                self.doCleanups()

    def come_and_go(self, threads):
        self.port = net.free_port()
        self.work = self.folder()
        self.met = {}
        self.total = collections.Counter()
        self.started(Greeter("0.0.0.0", self.port))
        total = 1 + BATCHES * CHANGES * MEMBERS
        self.names = {address(n): f"s{n}" for n in range(total)}
        self.listen = f"127.0.0.1:{net.free_port()}"
        socket_path = os.path.join(self.work, "admin")
        parkway = self.started(Parkway.from_flags(
            [f"--listen={self.listen}", f"--threads={threads}", f"--admin_socket={socket_path}",
             f"--upstream=name=app servers_file={self.write([0])} on_remove=keep"], self.listen))
        admin = Admin(socket_path)
        stays = self.started(Connection(self.listen))
        self.assertEqual(address(0), stays.server)

        before = {address(0)}
        number = 1
        most = 0
        memory = []
        for _ in range(BATCHES):
            for _ in range(CHANGES):
                members = range(number, number + MEMBERS)
                number += MEMBERS
                now = {address(n) for n in members}
                self.write(members)
                self.meet(before | now, now)
                before = now
            # Those that are there, and the one that is gone and has a client.
            until(lambda: admin.json("show info")["server_slots_used"] == MEMBERS + 1, PATIENCE,
                  f"the others are forgotten: {admin.json('show info')['server_slots_used']}")
            most = max(most, admin.json("show info")["server_slots"])
            memory.append(procfs.private_bytes(parkway.pid))
        print(f"{threads} workers: {number} servers, {most} slots, "
              f"memory {[bytes // 1024 for bytes in memory]} KiB")
        self.assertEqual(total, number)
        self.assertLessEqual(most, (CHANGES + 2) * MEMBERS)
        # A slot is some 5 KB for each worker that knows it.
        self.assertLess(memory[-1] - memory[2], 1_500_000)

        # The numbers of a server are its own.
        for server in admin.json("show servers")[0]["servers"]:
            if server["name"] != "s0":
                self.assertEqual(self.total[server["name"]], server["total"], server["name"])
        self.assertTrue(stays.lives())
        self.assertEqual("s0", admin.json("show conns")[0]["server"])
        self.met[stays.name()] = f"{stays.server}:{self.port}"
        stays.close()
        self.assertEqual(0, parkway.stop())
        told = {line["client"]: line["server"] for line in parkway.closing_lines()}
        wrong = {client: (told.get(client), name) for client, name in self.met.items()
                 if told.get(client) != name}
        self.assertEqual({}, wrong, "the log calls each server by its name")


if __name__ == "__main__":
    story.main()
