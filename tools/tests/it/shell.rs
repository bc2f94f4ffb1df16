use std::{fs, path::Path, time::Duration};

use gpak_kernel::tool::ToolError;
use gpak_tools::builtin::Reach;
use serde_json::json;

use crate::bench::{Bench, until};

#[tokio::test]
async fn a_command_says_its_exit_code_first_and_both_outputs_in_order() {
    let bench = Bench::new();
    let command = "echo one; echo two >&2; echo three; pwd; exit 3";
    let output = bench
        .make(1, "run_command", json!({"command": command}))
        .await
        .unwrap();
    let here = bench.path("").canonicalize().unwrap();
    assert_eq!(
        output.text,
        format!("exit code 3\none\ntwo\nthree\n{}", here.display())
    );
    assert_eq!(output.data, Some(json!({"exit_code": 3})));
    let text = bench
        .call(2, "run_command", json!({"command": "cat; true"}))
        .await;
    assert_eq!(text, "exit code 0, no output");
    let text = bench
        .call(3, "run_command", json!({"command": "kill -9 $$"}))
        .await;
    assert_eq!(text, "ended by signal 9, no output");
}

#[tokio::test]
async fn long_output_is_bounded_and_both_ends_kept() {
    let bench = Bench::new();
    let command = "echo begin; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end";
    let text = bench
        .call(1, "run_command", json!({"command": command}))
        .await;
    assert!(text.len() < (1 << 20) + 400, "{}", text.len());
    assert!(
        text.starts_with("exit code 0\nbegin\nxxx") && text.ends_with("x\nend"),
        "{text}"
    );
    assert!(text.contains("…truncated: "), "{text}");
}

#[tokio::test]
async fn secrets_stay_out_of_a_commands_environment() {
    // The environment of the test process belongs to all its tests, so another process is asked.
    let exe = std::env::current_exe().unwrap();
    let output = std::process::Command::new(exe)
        .args([
            "--exact",
            "shell::print_the_environment_of_a_command",
            "--ignored",
            "--nocapture",
        ])
        .env("GPAK_HOME", "leak-1")
        .env("SOME_API_KEY", "leak-2")
        .env("SOME_TOKEN", "leak-3")
        .env("MY_SECRET_THING", "leak-4")
        .env("DB_PASSWORD", "leak-5")
        .env("HARMLESS", "kept")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("HARMLESS=kept"),
        "{printed}"
    );
    assert!(!printed.contains("leak-"), "{printed}");
}

#[tokio::test]
#[ignore = "run by secrets_stay_out_of_a_commands_environment"]
async fn print_the_environment_of_a_command() {
    let bench = Bench::new();
    println!(
        "{}",
        bench
            .call(1, "run_command", json!({"command": "env"}))
            .await
    );
}

fn is_alive(pid: &str) -> bool {
    let state = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    let state = state
        .rsplit_once(") ")
        .map(|(_, rest)| rest.chars().next().unwrap_or('X'));
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A command with a child and a grandchild that hold the pipe, and write down their numbers.
const FAMILY: &str = "sh -c 'sleep 1000 & echo $! > grandchild; echo $$ > child; wait' & echo $$ > parent; echo started; wait";

fn family(bench: &Bench) -> Option<Vec<String>> {
    let pid = |name| {
        Some(fs::read_to_string(bench.path(name)).ok()?.trim().to_owned())
            .filter(|pid| !pid.is_empty())
    };
    ["parent", "child", "grandchild"]
        .into_iter()
        .map(pid)
        .collect()
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_stopped_with_all_it_started() {
    let bench = Bench::new();
    let message = bench
        .refused(
            "run_command",
            json!({"command": FAMILY, "timeout_seconds": 2}),
        )
        .await;
    assert!(
        message.starts_with("the command was stopped as it took longer than 2 seconds"),
        "{message}"
    );
    assert!(message.ends_with("It had printed:\nstarted"), "{message}");
    let pids = family(&bench).expect("it had two seconds to start");
    until("all are killed", || !pids.iter().any(|pid| is_alive(pid))).await;
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_is_stopped_with_all_it_started() {
    let bench = Bench::new();
    let (tool, call) = (
        bench.tool("run_command"),
        bench.call_of(1, "run_command", &json!({"command": FAMILY})),
    );
    let call = tool.call(&call, &bench.context);
    tokio::select! {
        made = call => panic!("it ended: {made:?}"),
        () = until("all are started", || family(&bench).is_some()) => {}
    }
    let pids = family(&bench).unwrap();
    until("all are killed", || !pids.iter().any(|pid| is_alive(pid))).await;
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_neither_hangs_it_nor_stays() {
    let bench = Bench::new();
    let command = "sleep 1000 & echo $! > pid; echo done";
    let text = bench
        .call(1, "run_command", json!({"command": command}))
        .await;
    assert_eq!(text, "exit code 0\ndone");
    let pid = bench.get("pid").trim().to_owned();
    until("it is killed", || !is_alive(&pid)).await;
}

#[tokio::test]
async fn what_leaves_the_process_group_is_not_waited_for() {
    let bench = Bench::new();
    let command = "command -v setsid >/dev/null || exit 9; setsid sh -c 'echo $$ > pid; exec sleep 1000' & while ! [ -s pid ]; do :; done; echo done";
    let made = tokio::time::timeout(
        Duration::from_secs(60),
        bench.make(1, "run_command", json!({"command": command})),
    );
    let text = made.await.expect("it does not hang").unwrap().text;
    if text.starts_with("exit code 9") {
        eprintln!("SKIPPED what_leaves_the_process_group_is_not_waited_for: no setsid here");
        return;
    }
    assert_eq!(text, "exit code 0\ndone");
    let pid: i32 = bench.get("pid").trim().parse().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

#[tokio::test]
async fn an_empty_command_is_refused() {
    let bench = Bench::new();
    let made = bench.make(1, "run_command", json!({"command": "  "})).await;
    assert!(matches!(made, Err(ToolError::Rejected(_))), "{made:?}");
}

/// A folder that is neither in a workspace nor a temporary one.
fn elsewhere() -> tempfile::TempDir {
    let home = std::env::home_dir().unwrap();
    let dir = tempfile::tempdir_in(&home).unwrap();
    let temporary = std::env::temp_dir();
    assert!(
        !dir.path().starts_with("/tmp") && !dir.path().starts_with(&temporary),
        "these tests need a home folder that is not a temporary one, and it is {}",
        home.display()
    );
    dir
}

#[tokio::test]
async fn a_command_writes_in_the_workspace_and_not_elsewhere() {
    if !Reach::can_be_enforced() {
        println!("DID NOT RUN: this kernel has no Landlock");
        return;
    }
    let outside = elsewhere();
    let (keep, new) = (outside.path().join("keep"), outside.path().join("new"));
    fs::write(&keep, "kept").unwrap();
    let (keep_at, new_at) = (keep.display(), new.display());
    let bench = Bench::new();
    for (number, command) in (1..).zip([
        format!("echo x > {new_at}"),
        format!("echo x >> {keep_at}"),
        format!("rm {keep_at}"),
        format!("mv {keep_at} ."),
        format!("truncate -s 0 {keep_at}"),
        format!("mkdir {new_at}"),
        format!("ln -s {keep_at} link; echo x > link"),
        format!("sh -c 'sh -c \"rm -rf {}\"'", outside.path().display()),
        format!("(setsid sh -c 'echo x > {new_at}'); test -e {new_at}"),
    ]) {
        let text = bench
            .call(number, "run_command", json!({"command": command}))
            .await;
        assert!(!text.starts_with("exit code 0"), "{command}: {text}");
        assert_eq!(fs::read_to_string(&keep).unwrap(), "kept", "{command}");
        assert!(!new.exists(), "{command}");
    }
    let command = format!(
        "cat {keep_at} > here && mkdir -p a/b && mv here a/b/ && echo to > $(mktemp) && echo > /dev/null"
    );
    let text = bench
        .call(20, "run_command", json!({"command": command}))
        .await;
    assert_eq!(text, "exit code 0, no output");
    assert_eq!(bench.get("a/b/here"), "kept");
}

#[tokio::test]
async fn who_is_not_let_is_told_and_the_settings_can_let() {
    let outside = elsewhere();
    let file = outside.path().join("file");
    let command = json!({"command": format!("echo x > {}", file.display())});
    if Reach::can_be_enforced() {
        let text = Bench::new().call(1, "run_command", command.clone()).await;
        assert!(text.contains("commands.write"), "{text}");
    }
    for reach in [
        Reach::Everywhere,
        Reach::Workspace {
            and: vec![outside.path().to_owned(), "/not/there".into()],
        },
    ] {
        let bench = Bench::with(|options| options.reach = reach);
        let text = bench.call(1, "run_command", command.clone()).await;
        assert_eq!(text, "exit code 0, no output");
        fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn what_is_protected_is_not_written_in_a_folder_that_may_be() {
    if !Reach::can_be_enforced() {
        println!("DID NOT RUN: this kernel has no Landlock");
        return;
    }
    let outside = elsewhere();
    let own = outside.path().join("app/gpak");
    fs::create_dir_all(&own).unwrap();
    fs::create_dir(outside.path().join("app/other")).unwrap();
    let bench = Bench::with(|options| {
        options.protected.push(own.clone());
        options.reach = Reach::Workspace {
            and: vec![outside.path().to_owned()],
        };
    });
    let touch =
        |name: &str| json!({"command": format!("touch {}", outside.path().join(name).display())});
    let text = bench
        .call(1, "run_command", touch("app/gpak/config.toml"))
        .await;
    assert!(text.starts_with("exit code 1"), "{text}");
    let text = bench.call(2, "run_command", touch("app/other/file")).await;
    assert_eq!(text, "exit code 0, no output");
}

#[tokio::test]
async fn what_is_protected_is_not_read_by_any_of_its_names() {
    if !Reach::can_be_enforced() {
        println!("DID NOT RUN: this kernel has no Landlock");
        return;
    }
    let outside = elsewhere();
    let at = |name: &str| outside.path().join(name);
    fs::create_dir_all(at("app/gpak")).unwrap();
    fs::write(at("app/gpak/key"), "a secret").unwrap();
    fs::write(at("app/other"), "seen").unwrap();
    std::os::unix::fs::symlink(at("app/gpak"), at("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at("around")).unwrap();
    let bench = Bench::with(|options| options.protected.push(at("linked")));
    bench.put("mine", "mine");
    let names = [
        "app/gpak/key",
        "linked/key",
        "around/app/gpak/key",
        "around/linked/key",
    ];
    for (number, name) in (1..).zip(names) {
        let command = format!(
            "cat {0} || cp {0} here || sh -c 'cat < {0}'",
            at(name).display()
        );
        let text = bench
            .call(number, "run_command", json!({"command": command}))
            .await;
        assert!(!text.contains("a secret"), "{name}: {text}");
        assert!(text.contains("Permission denied"), "{name}: {text}");
        assert!(text.contains("what gpak keeps"), "{name}: {text}");
    }
    let command = format!(
        "cat {} mine && echo new > new && cat new && ls {}",
        at("app/other").display(),
        at("app/gpak").display()
    );
    let text = bench
        .call(9, "run_command", json!({"command": command}))
        .await;
    assert_eq!(text, "exit code 0\nseenminenew\nkey");
}
