//! `run_command`: a shell command in the workspace.
//!
//! A command cannot be undone; that is what its effect says and the gate asks about. Where it may write
//! is said in [`reach`]. What it starts is in one process group of its own, which is killed when the
//! command ends, runs out of time, or nobody waits for it any more. (A process that leaves the group
//! by `setsid` escapes that, but is not waited for.)

mod reach;

use std::{io, os::fd::OwnedFd, path::PathBuf, process::Stdio, time::Duration};

use async_trait::async_trait;
use gpak_kernel::tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{Child, Command},
    time::{Instant, timeout_at},
};

pub use reach::Reach;

use super::{CommandLimits, arguments};
use crate::{group::Group, kept::Kept, text::many, workspace::rejected};

/// How long output is still awaited once the command has ended and its group was killed.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// How to see what was left out of a command's output.
const MORE: &str = "; to see them, write the output to a file and read that";

/// Behind the output of a command that was not let.
const NARROW: &str = "\n(Commands can write only in the workspace, in temporary folders and in the caches of build tools; `commands.write` in the user's settings names more. They cannot read what gpak keeps for itself.)";

/// Runs shell commands.
pub(super) struct RunCommand {
    spec: ToolSpec,
    limits: CommandLimits,
    reach: Reach,
    protected: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Args {
    command: String,
    timeout_seconds: Option<u64>,
}

impl RunCommand {
    pub(super) fn new(limits: CommandLimits, reach: Reach, protected: Vec<PathBuf>) -> Self {
        let (usual, longest) = (limits.timeout.as_secs(), limits.longest.as_secs());
        let spec = super::spec(
            "run_command",
            "Run a shell command (sh) in the workspace, and get its exit code and what it prints. For what no other tool does: builds, tests, programs.",
            Effect::Irreversible,
            json!({
                "command": {"type": "string", "minLength": 1, "contentMediaType": "application/x-sh", "description": "The command line. It gets no input."},
                "timeout_seconds": {
                    "type": "integer", "minimum": 1, "maximum": longest,
                    "description": format!("When to stop it; {usual} if left out."),
                },
            }),
            1,
        );
        Self {
            spec,
            limits,
            reach,
            protected,
        }
    }

    fn timeout(&self, args: &Args) -> Duration {
        args.timeout_seconds
            .map_or(self.limits.timeout, Duration::from_secs)
            .min(self.limits.longest)
    }

    fn start(&self, command: &str, context: &ToolContext) -> io::Result<(Running, pipe::Receiver)> {
        // One pipe for both outputs keeps the order in which they were written.
        let (ours, theirs) = io::pipe()?;
        let mut sh = Command::new("sh");
        sh.arg("-c")
            .arg(command)
            .current_dir(&context.workspace)
            .stdin(Stdio::null())
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if is_secret(&name.to_string_lossy()) {
                sh.env_remove(name);
            }
        }
        // Nobody is there to page through output or to type a password.
        sh.env("PAGER", "cat")
            .env("GIT_PAGER", "cat")
            .env("GIT_TERMINAL_PROMPT", "0");
        sh.env("TERM", "dumb").env("NO_COLOR", "1");
        // Our ends of the pipe for writing go with `sh`, so that it ends when theirs do.
        let child = self.reach.start(sh, &context.workspace, &self.protected)?;
        let running = Running {
            group: Group::of(&child),
            child,
        };
        Ok((running, pipe::Receiver::from_owned_fd(OwnedFd::from(ours))?))
    }
}

#[async_trait]
impl Tool for RunCommand {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let args: Args = arguments(&call.args)?;
        if args.command.trim().is_empty() || args.command.contains('\0') {
            return Err(rejected(
                "command is empty, or has a NUL character in it".to_owned(),
            ));
        }
        let timeout = self.timeout(&args);
        let (mut running, mut pipe) = self.start(&args.command, context).map_err(|e| {
            ToolError::Fatal(format!(
                "sh cannot be started in {}: {e}",
                context.workspace.display()
            ))
        })?;
        let mut output = Kept::new(self.limits.output_bytes);
        let ended = running
            .finish(&mut pipe, &mut output, Instant::now() + timeout)
            .await;
        let ended =
            ended.map_err(|e| ToolError::Unknown(format!("the command was lost sight of: {e}")))?;
        let printed = output.text(MORE);
        match ended {
            Some(status) => {
                let mut text = match printed.as_str() {
                    "" => format!("{}, no output", describe(status)),
                    printed => format!("{}\n{printed}", describe(status)),
                };
                if !status.success() && self.reach.is_narrow() && was_denied(&printed) {
                    text += NARROW;
                }
                let data = json!({"exit_code": status.code()});
                Ok(ToolOutput {
                    data: Some(data),
                    ..ToolOutput::text(text)
                })
            }
            None => Err(rejected(format!(
                "the command was stopped as it took longer than {}, with all that it had started; give timeout_seconds (at most {}) or a shorter command. {}",
                many(timeout.as_secs(), "second"),
                self.limits.longest.as_secs(),
                if printed.is_empty() {
                    "It had printed nothing".to_owned()
                } else {
                    format!("It had printed:\n{printed}")
                },
            ))),
        }
    }

    async fn preview(&self, call: &Call, _: &ToolContext) -> Option<String> {
        let args: Args = arguments(&call.args).ok()?;
        Some(args.command)
    }
}

/// A command with all that it started.
struct Running {
    /// Before the child, so that it is killed before the child is reaped and its number free.
    group: Group,
    child: Child,
}

impl Running {
    /// Waits for the end, or for `deadline` (then `None`). Either way nothing of its group is left.
    async fn finish(
        &mut self,
        pipe: &mut pipe::Receiver,
        output: &mut Kept,
        deadline: Instant,
    ) -> io::Result<Option<std::process::ExitStatus>> {
        let mut buffer = vec![0; 16 * 1024];
        let mut is_open = true;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break Some(status?),
                read = pipe.read(&mut buffer), if is_open => {
                    let read = read?;
                    is_open = read > 0;
                    output.add(buffer.get(..read).unwrap_or_default());
                }
                () = tokio::time::sleep_until(deadline) => break None,
            }
        };
        self.group.kill();
        if status.is_none() {
            self.child.wait().await?;
        }
        let last = Instant::now() + LAST_OUTPUT;
        while is_open && let Ok(read) = timeout_at(last, pipe.read(&mut buffer)).await {
            let read = read?;
            is_open = read > 0;
            output.add(buffer.get(..read).unwrap_or_default());
        }
        Ok(status)
    }
}

fn describe(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Whether a command seems to have failed because it was not let.
fn was_denied(printed: &str) -> bool {
    ["Permission denied", "EACCES", "permission denied"]
        .iter()
        .any(|said| printed.contains(said))
}

/// Whether a variable of this name is kept from commands.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let inner = ["SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"];
    let last = ["TOKEN", "_KEY", "APIKEY", "_KEY_ID", "_PAT"];
    name.starts_with("GPAK_")
        || inner.iter().any(|part| name.contains(part))
        || last.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "GPAK_HOME",
            "OPENAI_API_KEY",
            "GITHUB_TOKEN",
            "TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "db_password",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "LANG",
            "KEYBOARD",
            "TOKENIZERS_PARALLELISM",
            "SSH_AUTH_SOCK",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
