//! `gpak acp`, driven as an editor does: line by line, and by npm's `acpx`.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::place::{Place, call, finish, when};

const NPM: [&str; 2] = ["acpx@0.19.1", "node@22.23.3"];

/// An editor that has gpak running.
struct Editor {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    next: u64,
    /// What came while something else was waited for.
    notes: VecDeque<Value>,
    /// Texts that are not saved, by path.
    buffers: Vec<(PathBuf, String)>,
    /// The id of the option that is chosen when leave is asked for.
    chooses: &'static str,
    asked: Vec<Value>,
}

impl Editor {
    fn start(place: &Place, model: &str, args: &[&str]) -> Self {
        let mut child = place
            .command()
            .args(["acp", "--model", model])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut editor = Self {
            child,
            to,
            from: BufReader::new(from),
            next: 0,
            notes: VecDeque::new(),
            buffers: Vec::new(),
            chooses: "reject",
            asked: Vec::new(),
        };
        let fs = json!({"readTextFile": true, "writeTextFile": true});
        let said = editor.ask(
            "initialize",
            json!({"protocolVersion": 1, "clientCapabilities": {"fs": fs}}),
        );
        assert_eq!(said["result"]["protocolVersion"], 1);
        assert_eq!(said["result"]["agentInfo"]["name"], "gpak");
        editor
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.to.as_mut().unwrap(), "{message}").unwrap();
    }

    fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// Asks, and answers what gpak asks meanwhile.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer_of(id)
    }

    fn answer_of(&mut self, id: u64) -> Value {
        loop {
            let said = self.read();
            if said.get("method").is_none() && said["id"] == id {
                return said;
            }
            self.take(said);
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    fn take(&mut self, said: Value) {
        let path = || PathBuf::from(said["params"]["path"].as_str().unwrap());
        let result = match said["method"].as_str().unwrap() {
            "session/update" => return self.notes.push_back(said["params"]["update"].clone()),
            "session/request_permission" => {
                self.asked.push(said["params"].clone());
                json!({"outcome": {"outcome": "selected", "optionId": self.chooses}})
            }
            "fs/read_text_file" => {
                let open = self.buffers.iter().find(|(open, _)| *open == path());
                let text = open.map(|(_, text)| text.clone());
                json!({"content": text.unwrap_or_else(|| fs::read_to_string(path()).unwrap())})
            }
            "fs/write_text_file" => {
                let content = said["params"]["content"].as_str().unwrap();
                fs::write(path(), content).unwrap();
                self.buffers.retain(|(open, _)| *open != path());
                json!({})
            }
            other => panic!("an editor is not asked for {other}"),
        };
        self.send(&json!({"jsonrpc": "2.0", "id": said["id"], "result": result}));
    }

    fn session(&mut self, place: &Place) -> String {
        let params = json!({"cwd": place.work(), "mcpServers": []});
        let said = self.ask("session/new", params);
        said["result"]["sessionId"].as_str().unwrap().to_owned()
    }

    fn prompt(&mut self, session: &str, text: &str) -> Value {
        self.ask("session/prompt", prompt(session, text))
    }

    /// What was said of one kind, put together.
    fn heard(&self, kind: &str) -> String {
        let of_kind = self.notes.iter().filter(|it| it["sessionUpdate"] == kind);
        let text = of_kind.map(|it| it["content"]["text"].as_str().unwrap_or_default());
        text.collect()
    }

    fn leaves(mut self) {
        self.to.take();
        assert!(self.child.wait().unwrap().success());
    }
}

fn prompt(session: &str, text: &str) -> Value {
    json!({"sessionId": session, "prompt": [{"type": "text", "text": text}]})
}

#[test]
fn a_session_is_a_conversation_whose_calls_the_editor_sees() {
    let place = Place::new();
    place.write("a.txt", "seven\n");
    let model = place.script(&[
        call("read_file", json!({"path": "a.txt"})),
        when("seven", finish("it says seven")),
        when("and now", json!({"text": "still seven"})),
    ]);
    let mut editor = Editor::start(&place, &model, &[]);
    let session = editor.session(&place);
    let said = editor.prompt(&session, "what does a.txt say?");
    assert_eq!(said["result"]["stopReason"], "end_turn", "{said}");
    assert_eq!(editor.heard("agent_message_chunk"), "it says seven");
    assert_eq!(
        editor.heard("agent_thought_chunk"),
        "I call read_file.I call finish."
    );
    let calls: Vec<_> = editor
        .notes
        .iter()
        .filter(|it| it["toolCallId"] == "1.0")
        .collect();
    let statuses: Vec<_> = calls.iter().map(|it| it["status"].as_str()).collect();
    assert_eq!(statuses, [None, Some("in_progress"), Some("completed")]);
    assert_eq!(calls[0]["kind"], "read");
    editor.notes.clear();
    let said = editor.prompt(&session, "and now?");
    assert_eq!(said["result"]["stopReason"], "end_turn", "{said}");
    assert_eq!(editor.heard("agent_message_chunk"), "still seven");
    editor.leaves();

    let mut later = Editor::start(&place, &model, &[]);
    let listed = later.ask("session/list", json!({"cwd": place.work()}));
    assert_eq!(
        listed["result"]["sessions"][0]["sessionId"],
        session.as_str()
    );
    let params = json!({"sessionId": session, "cwd": place.work(), "mcpServers": []});
    let loaded = later.ask("session/load", params);
    assert!(loaded.get("result").is_some(), "{loaded}");
    assert_eq!(
        later.heard("user_message_chunk"),
        "what does a.txt say?and now?"
    );
    assert_eq!(
        later.heard("agent_message_chunk"),
        "it says sevenstill seven"
    );
    later.leaves();
}

#[test]
fn what_needs_leave_is_asked_of_the_editor_and_a_no_is_a_no() {
    let place = Place::new();
    let write = call("write_file", json!({"path": "b.txt", "content": "new\n"}));
    let script = [
        write.clone(),
        when("user", json!({"text": "as you like"})),
        when("do it", write),
        finish("written"),
    ];
    let model = place.script(&script);
    let mut editor = Editor::start(&place, &model, &[]);
    let session = editor.session(&place);
    editor.prompt(&session, "write b.txt");
    assert!(!place.work().join("b.txt").exists());
    let asked = &editor.asked[0];
    let offered: Vec<_> = asked["options"].as_array().unwrap().iter().collect();
    assert_eq!(offered.len(), 3);
    assert!(
        asked["toolCall"]["content"].to_string().contains("+new"),
        "{asked}"
    );
    editor.chooses = "allow";
    editor.prompt(&session, "do it after all");
    assert_eq!(place.read("b.txt"), "new\n");
    editor.leaves();
    let undone = place.gpak(&["undo"]);
    assert_eq!(undone.code, 0, "{}", undone.err);
    assert!(!place.work().join("b.txt").exists());
}

#[test]
fn what_is_not_saved_is_what_the_model_sees_and_what_undo_gives_back() {
    let place = Place::new();
    place.write("c.txt", "on the disk\n");
    let edit = json!({"path": "c.txt", "old": "in the editor", "new": "by gpak"});
    let model = place.script(&[
        call("read_file", json!({"path": "c.txt"})),
        when("in the editor", call("edit_file", edit)),
        finish("edited"),
    ]);
    let mut editor = Editor::start(&place, &model, &["--yes"]);
    let path = place.work().canonicalize().unwrap().join("c.txt");
    editor.buffers.push((path, "in the editor\n".to_owned()));
    let session = editor.session(&place);
    editor.prompt(&session, "change c.txt");
    assert_eq!(place.read("c.txt"), "by gpak\n");
    editor.leaves();
    assert_eq!(place.gpak(&["undo"]).code, 0);
    assert_eq!(place.read("c.txt"), "in the editor\n");
}

#[test]
fn a_cancelled_turn_stops_its_command_and_the_session_goes_on() {
    let place = Place::new();
    let model = place.script(&[
        call(
            "run_command",
            json!({"command": "echo up > up; exec sleep 600"}),
        ),
        when("never mind", json!({"text": "stopped"})),
    ]);
    let mut editor = Editor::start(&place, &model, &["--yes"]);
    let session = editor.session(&place);
    let turn = editor.begin("session/prompt", prompt(&session, "sleep"));
    while !place.work().join("up").exists() {
        std::thread::yield_now();
    }
    editor.send(&json!({
        "jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": session},
    }));
    let said = editor.answer_of(turn);
    assert_eq!(said["result"]["stopReason"], "cancelled", "{said}");
    let said = editor.prompt(&session, "never mind");
    assert_eq!(said["result"]["stopReason"], "end_turn", "{said}");
    assert!(editor.heard("agent_message_chunk").contains("stopped"));
    editor.leaves();
}

#[test]
fn a_question_ends_the_turn_and_the_next_prompt_answers_it() {
    let place = Place::new();
    let model = place.script(&[
        call("ask_user", json!({"question": "Which colour?"})),
        when("green", finish("green it is")),
    ]);
    let mut editor = Editor::start(&place, &model, &[]);
    let session = editor.session(&place);
    let said = editor.prompt(&session, "paint it");
    assert_eq!(said["result"]["stopReason"], "end_turn", "{said}");
    assert!(
        editor
            .heard("agent_message_chunk")
            .contains("Which colour?")
    );
    editor.prompt(&session, "green");
    assert!(editor.heard("agent_message_chunk").contains("green it is"));
    editor.leaves();
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let place = Place::new();
    let model = place.script(&[finish("done")]);
    let mut editor = Editor::start(&place, &model, &[]);
    let session = editor.session(&place);
    let nowhere = json!({"cwd": "relative", "mcpServers": []});
    let image = json!({"type": "image", "data": "", "mimeType": "image/png"});
    for (method, params, part) in [
        ("session/new", nowhere, "absolute"),
        ("session/prompt", prompt("0", "hello"), "no open session"),
        ("session/prompt", prompt(&session, " "), "empty"),
        (
            "session/prompt",
            json!({"sessionId": session, "prompt": [image]}),
            "only text",
        ),
    ] {
        let said = editor.ask(method, params);
        assert_eq!(said["error"]["code"], -32602, "{said}");
        assert!(said["error"].to_string().contains(part), "{said}");
    }
    editor.leaves();
}

/// `acpx`, with a Node that is new enough for it, fetched the first time.
fn acpx() -> Command {
    let target = Path::new(env!("CARGO_BIN_EXE_gpak")).ancestors().nth(2);
    let folder = target.unwrap().join("gpak-test-acpx");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (wanted, stamp) = (format!("{NPM:?}"), folder.join("packages"));
    if !fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        let npm = ["install", "--no-audit", "--no-fund", "--prefix"];
        let made = Command::new("npm")
            .args(npm)
            .arg(&folder)
            .args(NPM)
            .output();
        let made = made.expect("npm is on the PATH");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        fs::write(&stamp, wanted).unwrap();
    }
    let bin = folder.join("node_modules/.bin");
    let mut command = Command::new(bin.join("acpx"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display()));
    command
}

#[test]
fn npms_acpx_runs_a_task() {
    let place = Place::new();
    place.write("a.txt", "seven\n");
    let model = place.script(&[
        call("read_file", json!({"path": "a.txt"})),
        when(
            "seven",
            call("write_file", json!({"path": "b.txt", "content": "7\n"})),
        ),
        finish("it says seven"),
    ]);
    let agent = format!("{} acp --model {model}", env!("CARGO_BIN_EXE_gpak"));
    let said = acpx()
        .current_dir(place.work())
        .env("GPAK_HOME", place.home())
        .env("HOME", place.home())
        .args([
            "--agent",
            &agent,
            "--approve-all",
            "exec",
            "what does a.txt say?",
        ])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&said.stdout);
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.status.success() && out.contains("it says seven"),
        "{out}\n{err}"
    );
    assert_eq!(place.read("b.txt"), "7\n");
}
