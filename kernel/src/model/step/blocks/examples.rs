//! Tasks done before, as a conversation: a small model needs to have seen some. As text of the system's they
//! are copied; as turns they are followed.

use super::super::Role::{self, Assistant, User};

/// The turns.
pub(super) fn all() -> Vec<(Role, &'static str)> {
    vec![
        (User, ASKED),
        (
            Assistant,
            "The port of the mail server stands in conf/mail.ini.\nANSWER: The mail server uses port 2525 (conf/mail.ini).",
        ),
        (User, NUMBER),
        (
            Assistant,
            "I let a program count the lines that begin with a dash.\n```js\nprint(lines(\"list.md\").filter(line => line.startsWith(\"- \")).length)\n```",
        ),
        (
            User,
            "Output:\n3\n\n(The task is: How many items are on the list?)",
        ),
        (
            Assistant,
            "The program counted 3.\nANSWER: There are 3 items on the list.",
        ),
        (User, COUNTED),
        (
            Assistant,
            "I add up the column seats of the rows whose city is Oslo.\n```js\nconst rows = csv(\"halls.csv\").filter(row => row.city === \"Oslo\")\nlet sum = 0\nfor (const row of rows) sum += row.seats\nwrite(\"oslo.txt\", sum)\nprint(sum)\n```",
        ),
        (
            User,
            "Output:\n210\nwrote oslo.txt (1 line, 4 bytes)\n--- oslo.txt\n+210\n\n(The task is: Write the number of all seats in Oslo to oslo.txt)",
        ),
        (
            Assistant,
            "The sum is in oslo.txt, and nothing else was asked.\nANSWER: oslo.txt says 210, the seats of all halls in Oslo.",
        ),
        (User, CHANGED),
        (
            Assistant,
            "In both files under pages the word colour becomes color.\n```js\nfor (const path of list(\"pages/**/*.md\")) {\n  if (read(path).includes(\"colour\")) replaceAll(path, \"colour\", \"color\")\n}\n```",
        ),
        (
            User,
            "Output:\nchanged pages/a.md (now 2 lines, 30 bytes)\nchanged pages/sub/b.md (now 1 line, 14 bytes)\n--- pages/a.md\n-# The colour red\n-A warm colour.\n+# The color red\n+A warm color.\n--- pages/sub/b.md\n-Pick a colour.\n+Pick a color.\n\n(The task is: Spell colour as color in all files under pages.)",
        ),
        (
            Assistant,
            "All files that had it are changed.\nANSWER: colour is spelt color now in pages/a.md and pages/sub/b.md.",
        ),
        (User, COLLECTED),
        (
            Assistant,
            "For each .log file I take the lines with FAIL.\n```js\nconst out = []\nfor (const path of list(\"logs/**/*.log\")) {\n  for (const line of lines(path)) {\n    if (line.includes(\"FAIL\")) out.push(path + \": \" + line)\n  }\n}\nwrite(\"failures.txt\", out.join(\"\\n\"))\n```",
        ),
        (
            User,
            "Output:\nwrote failures.txt (1 line, 24 bytes)\n--- failures.txt\n+logs/mon.log: FAIL disk\n\n(The task is: List all lines with FAIL of the logs in failures.txt, with the file they are in.)",
        ),
        (
            Assistant,
            "The list is written.\nANSWER: failures.txt lists one line: logs/mon.log: FAIL disk.",
        ),
        (User, MOVED),
        (
            Assistant,
            "The pictures are the .jpg files in the folder itself.\n```js\nfor (const path of list(\"*.jpg\")) move(path, \"pictures/\")\n```",
        ),
        (
            User,
            "Output:\nmoved sea.jpg to pictures/sea.jpg\nmoved wood.jpg to pictures/wood.jpg\n\n(The task is: Put the .jpg files into the folder pictures.)",
        ),
        (
            Assistant,
            "Both are moved.\nANSWER: sea.jpg and wood.jpg are in pictures now.",
        ),
        (User, MENDED),
        (
            Assistant,
            "half divides by 3, and a half is a division by 2: I correct it in half.py.\n```js\nreplace(\"half.py\", \"x / 3\", \"x / 2\")\n```",
        ),
        (
            User,
            "Output:\nchanged half.py (now 2 lines, 29 bytes)\n--- half.py\n-    return x / 3\n+    return x / 2\n\n(The task is: `python3 test.py` fails. Correct half.py.)",
        ),
        (
            Assistant,
            "Now the check is run.\n```sh\npython3 test.py\n```",
        ),
        (
            User,
            "Output:\nexit code 0\nall good\n\n(The task is: `python3 test.py` fails. Correct half.py.)",
        ),
        (
            Assistant,
            "The check passes.\nANSWER: half.py divided by 3; it divides by 2 now, and python3 test.py passes.",
        ),
    ]
}

/// A task for which a tool is made: its definition, its call, and the answer.
pub(super) fn making() -> Vec<(Role, &'static str)> {
    vec![
        (User, MAKING),
        (
            Assistant,
            "I make a tool that writes seconds as a time.\n```tool\n// Writes a number of seconds as hours:minutes:seconds.\nfunction clock_time(seconds) {\n  if (!Number.isInteger(seconds) || seconds < 0) throw new Error(\"seconds must be a whole number from 0\")\n  const two = number => String(number).padStart(2, \"0\")\n  return Math.floor(seconds / 3600) + \":\" + two(Math.floor(seconds / 60) % 60) + \":\" + two(seconds % 60)\n}\n// examples\nclock_time(60) => \"0:01:00\"\nclock_time(3600) => \"1:00:00\"\n// bad input\nclock_time(-1) => error\n```",
        ),
        (
            User,
            "Output:\nclock_time is made (version 1): all 3 examples came out.\n\n(The task is: Make a tool that writes seconds as hours, minutes and seconds, and use it on 3725)",
        ),
        (
            Assistant,
            "The tool is made, and now I call it.\n```call\n{\"tool\":\"clock_time\",\"args\":{\"seconds\":3725}}\n```",
        ),
        (
            User,
            "Output:\n1:02:05\n\n(The task is: Make a tool that writes seconds as hours, minutes and seconds, and use it on 3725)",
        ),
        (
            Assistant,
            "The tool gave the time.\nANSWER: I made the tool clock_time, and it says that 3725 seconds are 1:02:05.",
        ),
    ]
}

const MAKING: &str =
    "Make a tool that writes seconds as hours, minutes and seconds, and use it on 3725";

const ASKED: &str = "Which port does the mail server use?

Files of the folder:
--- conf/mail.ini (2 lines)
host = mail
port = 2525
--- conf/web.ini (1 line)
port = 80";

const NUMBER: &str = "How many items are on the list?

Files of the folder:
--- list.md (5 lines)
# To buy
- bread
- salt
- tea
The rest later.";

const COUNTED: &str = "Write the number of all seats in Oslo to oslo.txt

Files of the folder:
--- halls.csv (5 lines)
hall,city,seats
North,Oslo,120
Harbour,Bergen,300
South,Oslo,90
Old,Bergen,75";

const CHANGED: &str = "Spell colour as color in all files under pages.

Files of the folder:
--- notes.txt (1 line)
a colour chart
--- pages/a.md (2 lines)
# The colour red
A warm colour.
--- pages/sub/b.md (1 line)
Pick a colour.
--- pages/sub/c.md (1 line)
Nothing here.";

const COLLECTED: &str =
    "List all lines with FAIL of the logs in failures.txt, with the file they are in.

Files of the folder:
--- logs/mon.log (3 lines)
ok start
FAIL disk
ok end
--- logs/tue.log (1 line)
ok start";

const MOVED: &str = "Put the .jpg files into the folder pictures.

Files of the folder:
sea.jpg (2310 bytes, binary)
wood.jpg (1822 bytes, binary)
--- jpg.txt (1 line)
about pictures";

const MENDED: &str = "`python3 test.py` fails. Correct half.py.

Files of the folder:
--- half.py (2 lines)
def half(x):
    return x / 3
--- test.py (3 lines)
from half import half
assert half(4) == 2
print(\"all good\")";
