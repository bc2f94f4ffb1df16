use std::{fs, path::Path};

use gpak_kernel::{
    event::RunId,
    label::Label,
    tool::{Call, ToolContext, ToolError, ToolOutput},
};
use gpak_tools::repository::{self, Found};
use serde_json::json;
use tempfile::TempDir;

use crate::bench::id;

/// A repository with a package in it, in a folder that belongs to somebody else.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        place.put("AGENTS.md", "not of this repository");
        place.put("repo/.git/HEAD", "ref: refs/heads/main\n");
        place.put("repo/package/src/lib.rs", "");
        place
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn skill(&self, folder: &str, text: &str) {
        self.put(
            &format!("repo/package/.gpak/skills/{folder}/SKILL.md"),
            text,
        );
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn read(&self) -> Found {
        repository::read(&self.path("repo/package"), &[], 2048)
    }

    async fn open(&self, name: &str) -> Result<ToolOutput, ToolError> {
        let call = Call {
            id: id(1),
            name: "open_skill".into(),
            args: json!({"name": name}),
            attempt: 1,
        };
        let context = ToolContext {
            run: RunId::from_u128(7),
            workspace: self.path("repo/package"),
            trust: Label::Own,
            may_change: true,
        };
        self.read().tool.unwrap().call(&call, &context).await
    }
}

fn skill(name: &str) -> String {
    format!(
        "---\nname: {name}\ndescription: >\n  Does it\n  well.\nlicense: MIT\n---\n# How\n1. Do it.\n"
    )
}

fn paths(found: &Found) -> Vec<&str> {
    found
        .repository
        .notes
        .iter()
        .map(|notes| notes.path.as_str())
        .collect()
}

#[test]
fn notes_are_read_up_to_the_root_of_the_repository_the_nearest_last() {
    let place = Place::new();
    place.put("repo/AGENTS.md", "far\n");
    place.put("repo/package/AGENTS.md", "near\n");
    let found = place.read();
    assert_eq!(paths(&found), ["../AGENTS.md", "AGENTS.md"]);
    assert_eq!(found.repository.notes[1].text, "near\n");
    assert!(found.notices.is_empty() && found.tool.is_none());
    fs::remove_dir_all(place.path("repo/.git")).unwrap();
    assert_eq!(
        paths(&place.read()),
        ["AGENTS.md"],
        "without a root nothing above is read"
    );
}

#[test]
fn long_notes_are_cut_and_said_to_be_the_furthest_first() {
    let place = Place::new();
    place.put("repo/AGENTS.md", "far away ".repeat(2_000));
    place.put("repo/package/AGENTS.md", "near by ".repeat(3_000));
    let found = place.read();
    let [far, near] = found.repository.notes.as_slice() else {
        panic!("{:?}", found.notices);
    };
    assert_eq!((near.text.len(), near.left_out), (24_000, 0));
    assert_eq!(far.text.len(), 32 * 1024 - 24_000);
    assert_eq!(far.left_out, 18_000 - far.text.len() as u64);
    assert!(
        found.notices[0].contains("../AGENTS.md is longer than"),
        "{:?}",
        found.notices
    );
}

#[test]
fn notes_that_are_no_text_or_lead_out_are_said_and_left_out() {
    let place = Place::new();
    place.put("repo/AGENTS.md", [0, 1, 2, 3]);
    place.link("repo/package/AGENTS.md", "/etc/hostname");
    let found = place.read();
    assert!(found.repository.notes.is_empty() && found.repository.skills.is_empty());
    let said = found.notices.join("\n");
    assert!(
        said.contains("../AGENTS.md is not used: it is binary"),
        "{said}"
    );
    assert!(
        said.contains("AGENTS.md is not used: ") && said.contains("outside"),
        "{said}"
    );

    let place = Place::new();
    place.put("repo/CLAUDE.md", "shared\n");
    place.link("repo/AGENTS.md", "CLAUDE.md");
    fs::create_dir(place.path("repo/package/AGENTS.md")).unwrap();
    let found = place.read();
    assert_eq!(
        found.repository.notes[0].text, "shared\n",
        "a link that stays inside is one"
    );
    assert!(
        found.notices[0].contains("is no file"),
        "{:?}",
        found.notices
    );
}

#[tokio::test]
async fn skills_are_listed_and_opened_as_what_the_repository_says() {
    let place = Place::new();
    place.skill("make-release", &skill("make-release"));
    place.put(
        "repo/package/.gpak/skills/make-release/scripts/tag.sh",
        "git tag\n",
    );
    let found = place.read();
    assert!(found.notices.is_empty(), "{:?}", found.notices);
    let listed = &found.repository.skills[0];
    assert_eq!(
        (listed.name.as_str(), listed.description.as_str()),
        ("make-release", "Does it well.")
    );
    let opened = place.open("make-release").await.unwrap();
    assert_eq!(opened.label, Some(Label::Repo));
    assert_eq!(
        opened.text,
        "<skill name=\"make-release\">\n# How\n1. Do it.\n</skill>\n\
         Its files, for read_file:\n.gpak/skills/make-release/scripts/tag.sh"
    );
}

#[tokio::test]
async fn a_long_skill_is_cut_at_a_line_and_says_how_to_go_on() {
    let place = Place::new();
    let lines: String = (6..=2_000)
        .map(|n| format!("line {n} of the file\n"))
        .collect();
    place.skill(
        "long",
        &format!("---\nname: long\ndescription: Long.\n---\n\n{lines}"),
    );
    let opened = place.open("long").await.unwrap().text;
    assert!(opened.len() < 2_300, "{}", opened.len());
    let (shown, hint) = opened
        .split_once("\n</skill>\n…truncated; for more use ")
        .unwrap();
    let last: u32 = shown
        .rsplit("line ")
        .next()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        hint.ends_with(&format!("\"from_line\":{}}}", last + 1)),
        "{last} {hint}"
    );
}

#[test]
fn skills_that_cannot_be_used_are_said_and_left_out() {
    let place = Place::new();
    place.skill("good", &skill("good"));
    place.skill("twin", &skill("good"));
    place.skill("other", &skill("named-otherwise"));
    place.skill("no-front", "# Just text\n");
    place.skill("no-yaml", "---\nname: [\n---\n");
    place.skill("no-description", "---\nname: no-description\n---\n");
    place.skill("bad-name", "---\nname: Bad Name\ndescription: x\n---\n");
    place.skill("huge", &format!("{}{}", skill("huge"), "x".repeat(3 << 20)));
    place.skill(
        "never-ends",
        &format!(
            "---\nname: never-ends\ndescription: {}",
            "x\n".repeat(1 << 20)
        ),
    );
    let bomb: String = (1..=40)
        .map(|n| format!("b{n}: &b{n} [*b{m}, *b{m}, *b{m}]\n", m = n - 1))
        .collect();
    place.skill(
        "bomb",
        &format!("---\nb0: &b0 [x, x, x]\n{bomb}name: bomb\ndescription: x\n---\n"),
    );
    fs::create_dir_all(place.path("repo/package/.gpak/skills/empty")).unwrap();
    place.put("outside/SKILL.md", skill("outside"));
    place.link("repo/package/.gpak/skills/outside", place.path("outside"));
    let found = place.read();
    let names: Vec<_> = found
        .repository
        .skills
        .iter()
        .map(|skill| skill.name.as_str())
        .collect();
    let said = found.notices.join("\n");
    assert_eq!(names, ["good", "huge", "named-otherwise"], "{said}");
    for part in [
        "skills/twin is not used: .gpak/skills/good has the same name, good",
        "skills/other names itself `named-otherwise`",
        "skills/no-front is not used: SKILL.md does not begin with",
        "skills/no-yaml is not used: what stands between",
        "skills/no-description is not used: what stands between",
        "skills/bad-name is not used: its name is `Bad Name`",
        "huge/SKILL.md is 31",
        "skills/never-ends is not used: SKILL.md does not begin with",
        "skills/empty is not used: it has no SKILL.md",
        "skills/bomb is not used: what stands between",
        "skills/outside is not used: .gpak/skills/outside/SKILL.md leads outside",
    ] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
}

#[test]
fn a_folder_of_skills_that_leads_out_is_not_read() {
    let place = Place::new();
    place.put("outside/evil/SKILL.md", skill("evil"));
    place.link("repo/package/.gpak/skills", place.path("outside"));
    let found = place.read();
    assert!(found.repository.notes.is_empty() && found.repository.skills.is_empty());
    assert!(
        found.notices[0].contains(".gpak/skills are not used: "),
        "{:?}",
        found.notices
    );
}
