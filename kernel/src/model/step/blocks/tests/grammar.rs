//! What the grammar takes, byte for byte.

use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use toktrie::ApproximateTokEnv;

use super::*;

#[test]
fn a_program_is_no_answer_where_there_is_no_other_way_to_give_one() {
    let all = tools();
    let (last, others): (Vec<ToolSpec>, Vec<ToolSpec>) =
        all.into_iter().partition(|tool| tool.name == "finish");
    assert_eq!(last.len(), 1);
    let (free, barred) = (blocks(), blocks().among(&others));
    for program in ["print(1)", "Array.of(1)", "A", "const a = 1\n\nprint(a)"] {
        let reply = format!("I count.\n```js\n{program}\n```");
        assert!(takes_whole(&free, &reply), "{program}");
        assert!(takes_whole(&barred, &reply), "{program}");
    }
    let answer = "I count.\n```js\nANSWER: 0\n```";
    assert!(takes_whole(&free, answer) && !takes_whole(&barred, answer));
}

#[test]
fn a_program_ends_with_the_first_fence_that_begins_a_line() {
    let replies = [
        ("", true),
        ("print(`a`)", true),
        ("`${a}`\n``\n`", true),
        ("const a = '```'", true),
        ("\n\nprint(1)\n", true),
        ("print(1)\n```\nprint(2)", false),
        ("```", false),
        ("print(1)\n```js", false),
    ];
    for (program, is_whole) in replies {
        let reply = format!("I count.\n```js\n{program}\n```");
        assert_eq!(takes_whole(&blocks(), &reply), is_whole, "{program}");
    }
}

/// Whether the grammar takes that reply, and nothing behind it.
fn takes_whole(blocks: &Blocks, reply: &str) -> bool {
    let bytes = ApproximateTokEnv::single_byte_env();
    let factory = ParserFactory::new_simple(&bytes).unwrap();
    let grammar = TopLevelGrammar::from_lark(blocks.grammar());
    let mut matcher = Matcher::new(factory.create_parser(grammar));
    let tokens: Vec<u32> = reply.bytes().map(u32::from).collect();
    let taken = matcher.validate_tokens(&tokens).unwrap();
    taken == tokens.len() && {
        matcher.consume_tokens(&tokens).unwrap();
        matcher.is_accepting().unwrap()
    }
}
