"""No file names a path of the machine that it was written on."""

from _files import files, matching


def check(root):
    return matching(root, files(root, r"(?<!\.lock)$"), r"(^|[^A-Za-z0-9_.])/(work|root|home|Users)/")


# Put together, or the rule would find itself.
GOOD = [{"a.md": "../wo" + "rk/a, b/ho" + "me/c, /ro" + "ot, net" + "work/\n", "a.lock": "/ho" + "me/a/\n"}]
BAD = [{"a.md": f"see /{folder}/a\n"} for folder in ("work", "root", "home", "Users")] + [
    {".ci/a.sh": "cd '/ho" + "me/me/a'\n"}
]
