"""One run of items: what they need to start, and the notes they leave."""
import json
import shutil
import traceback

from ledger import Load, compile_c
from llmlab_server import PROCESSES, Postgres, Server, make_folder


class Run:
    """`long`: the sizes of the reliability page, times `scale`; else the small ones of scripts/test."""

    def __init__(self, long=False, scale=1.0, tell=None):
        self.long, self.scale, self.tell = long, scale, tell
        self.notes = []
        self.made = []
        self.folder = make_folder()
        self.program = compile_c("ledger_client.c", self.folder)
        self.lying = compile_c("lying_libpq.c", self.folder, "-shared", "-fPIC")

    def pick(self, short, long):
        if not self.long:
            return short
        return type(long)(max(short, long * self.scale))

    def note(self, item, promise, done, figure, passed):
        entry = {"item": item, "promise": promise, "done": done, "figure": str(figure), "passed": bool(passed)}
        self.notes.append(entry)
        if self.tell:
            self.tell(entry)

    def server(self, **settings):
        return self._keep(Server(**settings))

    def postgres(self, folder=None, options=()):
        return self._keep(Postgres(folder, options).start())

    def load(self, port, token, **how):
        return self._keep(Load(self.program, self.folder, port, token, **how))

    def _keep(self, one):
        self.made.append(one)
        return one

    def end_what_runs(self):
        """After an item, however it ended: loads first, then servers, then databases."""
        for kind in (Load, Server, Postgres):
            for one in self.made:
                if isinstance(one, kind) and one.process is not None and one.process in PROCESSES:
                    if kind is Load:
                        one.stop()
                    elif kind is Server:
                        one.end(15)
                    else:
                        one.stop(immediate=True)
        self.made.clear()

    def do(self, name, item):
        """Runs one item; a failure of the harness is a failed note."""
        try:
            item(self)
        except Exception as e:  # the other items still run
            traceback.print_exc()
            self.note(name, "the item runs to its end", "", f"{type(e).__name__}: {e}"[:500], False)
        finally:
            self.end_what_runs()

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.notes, indent=1) + "\n")

    def release(self):
        shutil.rmtree(self.folder, ignore_errors=True)
