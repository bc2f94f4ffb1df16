//! What a server answered, for a model.

use gpak_kernel::tool::{ToolError, ToolOutput};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

use crate::{kept::Kept, schema, text::many};

/// A result as a model is shown it, in so many bytes.
///
/// # Errors
/// If the server says that the call failed.
pub(super) fn output(
    result: CallToolResult,
    declared: Option<&Value>,
    bytes: usize,
) -> Result<ToolOutput, ToolError> {
    let mut kept = Kept::new(bytes);
    let mut is_first = true;
    let mut add = |text: &str| {
        if !is_first {
            kept.add(b"\n");
        }
        is_first = false;
        kept.add(text.as_bytes());
    };
    for block in &result.content {
        add(&shown(block));
    }
    let mut data = result.structured_content;
    if let Some(value) = &data {
        if result.content.is_empty() {
            add(&value.to_string());
        }
        if let Some(Err(why)) = declared.map(|declared| schema::holds(declared, value)) {
            add(&format!(
                "(The server's result is not what it declares: {why})"
            ));
            data = None;
        }
    }
    let text = match kept.text("") {
        text if text.is_empty() => "done; the server says nothing more".to_owned(),
        text => text,
    };
    if result.is_error == Some(true) {
        return Err(ToolError::Rejected(text));
    }
    Ok(ToolOutput {
        data: data.filter(|data| data.to_string().len() <= bytes),
        ..ToolOutput::text(text)
    })
}

/// A piece of content as text; what is no text is named.
fn shown(block: &ContentBlock) -> String {
    let unseen = |kind: &str, mime: &str, base64: &str| {
        // Four characters of base64 are three bytes.
        format!(
            "[{kind}, {mime}, {}]",
            many(base64.len() as u64 * 3 / 4, "byte")
        )
    };
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => unseen("an image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => unseen("a recording", &audio.mime_type, &audio.data),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("{uri}:\n{text}"),
            ResourceContents::BlobResourceContents {
                uri,
                mime_type,
                blob,
                ..
            } => unseen(uri, mime_type.as_deref().unwrap_or("of unknown type"), blob),
            _ => "[a resource of an unknown kind]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[{}: {}]", link.name, link.uri),
        _ => "[content of an unknown kind]".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(result: Value, declared: Option<&Value>) -> Result<ToolOutput, ToolError> {
        output(serde_json::from_value(result).unwrap(), declared, 200)
    }

    #[test]
    fn what_is_no_text_is_named() {
        let content = json!([
            {"type": "text", "text": "hello"},
            {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "x:y", "text": "inside"}},
            {"type": "resource_link", "uri": "file:///a", "name": "a"},
        ]);
        let text = read(json!({"content": content}), None).unwrap().text;
        assert_eq!(
            text,
            "hello\n[an image, image/png, 3 bytes]\nx:y:\ninside\n[a: file:///a]"
        );
    }

    #[test]
    fn a_long_result_is_shown_by_its_ends() {
        let content = json!([{"type": "text", "text": "x".repeat(100_000)}]);
        let text = read(json!({"content": content}), None).unwrap().text;
        assert!(text.len() < 400 && text.contains("truncated"), "{text}");
    }

    #[test]
    fn a_failure_is_the_models_to_mend() {
        let content = json!([{"type": "text", "text": "no such file"}]);
        let why = read(json!({"content": content, "isError": true}), None).unwrap_err();
        assert!(matches!(why, ToolError::Rejected(why) if why == "no such file"));
    }

    #[test]
    fn a_result_that_is_not_what_was_declared_is_said_to_be_so() {
        let declared = json!({"type": "object", "required": ["sum"]});
        let right = read(json!({"structuredContent": {"sum": 3}}), Some(&declared)).unwrap();
        assert_eq!(
            (right.text.as_str(), right.data),
            ("{\"sum\":3}", Some(json!({"sum": 3})))
        );
        let wrong = read(json!({"structuredContent": {"total": 3}}), Some(&declared)).unwrap();
        assert!(
            wrong.text.contains("not what it declares"),
            "{}",
            wrong.text
        );
        assert_eq!(wrong.data, None);
    }
}
