//! `gpak chat` at a terminal, typed into by a test.

use std::fs;

use serde_json::{Value, json};

use crate::{
    place::is_alive,
    place::{Place, call, finish},
    tmux::Terminal,
};

fn chat(place: &Place, args: &[&str], number: u8) -> Option<Terminal> {
    let mut command = place.command();
    command.arg("chat").args(args);
    let socket = place.home().with_file_name(format!("tmux-{number}"));
    Terminal::run(socket, &command)
}

fn write(path: &str, content: &str) -> Value {
    call("write_file", json!({"path": path, "content": content}))
}

/// The messages of the latest run.
fn messages(place: &Place) -> Vec<String> {
    let events = place.gpak(&["runs", "events"]).with_code(0).out;
    let texts = events.lines().filter_map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let event = &entry["event"];
        let text = match event["type"].as_str()? {
            "run_created" => &event["spec"]["task"],
            "message_received" => &event["text"],
            _ => return None,
        };
        Some(text.as_str()?.to_owned())
    });
    texts.collect()
}

fn prompts(screen: &str) -> usize {
    screen.lines().filter(|line| line.starts_with('›')).count()
}

/// Waits for the prompt of that number.
fn prompt(terminal: &Terminal, number: usize) {
    terminal.wait("prompt", |screen| prompts(screen) >= number);
}

#[test]
fn a_conversation_at_a_terminal_edit_approve_interrupt_resume() {
    let place = Place::new();
    place.write("notes/a.txt", "old line\n");
    let config = place.home().join("config/config.toml");
    let model = place.script(&[
        write("notes/a.txt", "new line\n"),
        write("notes/b.txt", "b\n"),
        finish("wrote both"),
        json!({
            "when": "take your time",
            "text": "A very slow answer that goes on and on, word by word.",
            "word_ms": 600_000,
        }),
        json!({"when": "go faster", "text": "quick"}),
        call(
            "run_command",
            json!({"command": "echo $$ > pid; sleep 600"}),
        ),
        json!({"when": "leave it", "text": "left"}),
        json!({"when": "still there?", "text": "still here"}),
    ]);
    let Some(terminal) = chat(&place, &["--model", &model], 1) else {
        return;
    };

    // Several lines: a backslash at the end of one goes on, and so does Alt-Enter.
    terminal.sees("0 of 32.8k tokens (0 %) · $0.00");
    prompt(&terminal, 1);
    terminal.types("change the notes\\");
    terminal.press("Enter");
    terminal.types("in two files");
    terminal.press("M-Enter");
    terminal.types("pleaze");
    terminal.press("BSpace");
    terminal.press("BSpace");
    terminal.types("se");
    terminal.press("Enter");

    // A diff before the approval; a pattern for next time, shown and confirmed.
    let screen = terminal.sees("or say what to do instead:");
    for part in [
        "◆ write_file notes/a.txt",
        "-old line",
        "+new line",
        "changes files",
    ] {
        assert!(screen.contains(part), "no {part} in:\n{screen}");
    }
    assert_eq!(
        place.read("notes/a.txt"),
        "old line\n",
        "not before it is approved"
    );
    terminal.types("a");
    terminal.press("Enter");
    terminal.sees("write_file:path=notes/*");
    terminal.press("Enter");
    terminal.sees("kept in ");
    let screen = terminal.sees("wrote both");
    assert_eq!(screen.matches("Do it?").count(), 1, "asked once:\n{screen}");
    assert_eq!(place.read("notes/b.txt"), "b\n");
    let kept = fs::read_to_string(&config).unwrap();
    assert!(
        kept.contains("[[permission]]") && kept.contains("notes/*"),
        "{kept}"
    );
    assert_eq!(messages(&place), ["change the notes\nin two files\nplease"]);

    // The status line, and what was typed before comes back.
    prompt(&terminal, 2);
    terminal.sees("of 32.8k tokens");
    terminal.press("Up");
    terminal.wait("the first message again", |screen| {
        screen.matches("in two files").count() > 1
    });
    terminal.press("C-c");
    terminal.sees("Ctrl-C again, Ctrl-D or /quit leaves");
    prompt(&terminal, 3);
    terminal.types("take your time");
    terminal.press("Enter");

    // An answer that comes slowly is stopped, and another message goes on.
    terminal.wait("first word", |screen| {
        screen.lines().any(|line| line.trim() == "A")
    });
    terminal.press("C-c");
    terminal.sees("Ctrl-C again leaves");
    prompt(&terminal, 4);
    terminal.types("go faster");
    terminal.press("Enter");
    terminal.sees("quick");

    // A command that runs is stopped, and so is what it started.
    prompt(&terminal, 5);
    terminal.types("now sleep");
    terminal.press("Enter");
    terminal.wait("question about the command", |screen| {
        screen.matches("or say what to do instead:").count() > 1
    });
    terminal.types("o");
    terminal.press("Enter");
    terminal.sees("… run_command");
    let pid = loop {
        let pid = fs::read_to_string(place.work().join("pid")).unwrap_or_default();
        if pid.ends_with('\n') {
            break pid;
        }
        std::thread::yield_now();
    };
    terminal.press("C-c");
    terminal.wait("second stop", |screen| {
        screen.matches("Ctrl-C again leaves").count() > 1
    });
    while is_alive(pid.trim()) {
        std::thread::yield_now();
    }
    prompt(&terminal, 6);
    terminal.types("leave it");
    terminal.press("Enter");
    terminal.sees("left");
    prompt(&terminal, 7);
    terminal.types("/quit");
    terminal.press("Enter");
    terminal.sees("go on with: gpak chat --resume");
    terminal.sees("ended with 0");

    // Another process goes on with the conversation, its history too.
    let again = chat(&place, &["--resume"], 2).unwrap();
    again.sees("goes on · left");
    prompt(&again, 1);
    again.press("Up");
    again.sees("/quit");
    again.press("C-c");
    prompt(&again, 2);
    again.types("still there?");
    again.press("Enter");
    again.sees("still here");
    prompt(&again, 3);
    again.press("C-c");
    again.wait("second hint", |screen| {
        screen.matches("Ctrl-C again, Ctrl-D").count() > 1
    });
    prompt(&again, 4);
    again.press("C-c");
    again.sees("ended with 0");
    assert_eq!(
        messages(&place)[1..],
        [
            "take your time",
            "go faster",
            "now sleep",
            "leave it",
            "still there?"
        ]
    );
    place.gpak(&["runs", "verify"]).with_code(0);
    place.gpak(&["runs", "replay"]).with_code(0);
}

#[test]
fn an_approval_can_be_refused_with_what_to_do_instead_and_ctrl_c_stops_the_step() {
    let place = Place::new();
    let model = place.script(&[
        write("a.txt", "a\n"),
        json!({"when": "put it in b.txt", "calls": [{"name": "write_file", "args": {"path": "b.txt", "content": "b\n"}}]}),
        json!({"when": "never mind", "text": "fine"}),
    ]);
    let Some(terminal) = chat(&place, &["--model", &model, "write it"], 1) else {
        return;
    };
    let asked = |number| {
        terminal.wait("question", |screen| {
            screen.matches("or say what to do instead:").count() == number
        });
    };
    asked(1);
    terminal.types("put it in b.txt");
    terminal.press("Enter");
    asked(2);
    terminal.press("C-c");
    terminal.sees("Ctrl-C again leaves");
    prompt(&terminal, 1);
    terminal.types("never mind");
    terminal.press("Enter");
    terminal.sees("fine");
    assert_eq!(place.files(), [], "nothing was written");
    prompt(&terminal, 2);
    terminal.press("C-d");
    terminal.sees("ended with 0");
}
