//! Reads a step while it is being written.

/// A piece of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Of the thought, with its escapes undone.
    Thought(String),
    /// Of the call: the tool's name and a blank, then its arguments as they are written.
    Call(String),
}

/// Takes the text of a step as it comes, and gives what is known of its parts.
#[derive(Debug, Default)]
pub struct Splitter {
    place: Place,
    key: String,
    text: Text,
    depth: u32,
    thought: String,
    tool: String,
    named: bool,
    args: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
    /// Before a key.
    #[default]
    Between,
    Key,
    /// Between a key and its value.
    Colon,
    Thought,
    Tool,
    /// In the arguments.
    Args,
    /// In the value of a member that is none of ours.
    Other,
}

/// Undoes the escapes of a JSON string, character by character.
#[derive(Debug, Default)]
struct Text {
    escaped: bool,
    /// Digits of `\uXXXX` that are still to come, and their value so far.
    digits: u32,
    code: u32,
    /// The first half of a surrogate pair.
    high: u32,
}

enum Read {
    Char(char),
    Nothing,
    End,
}

impl Text {
    fn push(&mut self, c: char) -> Read {
        if self.digits > 0 {
            self.code = self.code * 16 + c.to_digit(16).unwrap_or(0);
            self.digits -= 1;
            return if self.digits == 0 {
                self.unit()
            } else {
                Read::Nothing
            };
        }
        if !self.escaped {
            return match c {
                '"' => Read::End,
                '\\' => {
                    self.escaped = true;
                    Read::Nothing
                }
                _ => Read::Char(c),
            };
        }
        self.escaped = false;
        Read::Char(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                (self.digits, self.code) = (4, 0);
                return Read::Nothing;
            }
            other => other,
        })
    }

    /// A UTF-16 unit is complete.
    fn unit(&mut self) -> Read {
        if (0xd800..0xdc00).contains(&self.code) {
            self.high = self.code;
            return Read::Nothing;
        }
        let low = (0xdc00..0xe000).contains(&self.code) && self.high != 0;
        let code = if low {
            0x10000 + ((self.high - 0xd800) << 10) + (self.code - 0xdc00)
        } else {
            self.code
        };
        self.high = 0;
        Read::Char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

impl Splitter {
    /// Takes more of the text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let (thought, args) = (self.thought.len(), self.args.len());
        let named = self.named;
        for c in text.chars() {
            self.step(c);
        }
        let mut pieces = Vec::new();
        let fresh = self.thought.get(thought..).unwrap_or_default();
        if !fresh.is_empty() {
            pieces.push(Piece::Thought(fresh.to_owned()));
        }
        let name = if self.named && !named {
            format!("{} ", self.tool)
        } else {
            String::new()
        };
        let call = name + self.args.get(args..).unwrap_or_default();
        if !call.is_empty() {
            pieces.push(Piece::Call(call));
        }
        pieces
    }

    /// The thought so far.
    pub fn thought(&self) -> &str {
        &self.thought
    }

    /// The tool, once its name is complete.
    pub fn tool(&self) -> Option<&str> {
        self.named.then_some(self.tool.as_str())
    }

    /// The arguments' text so far.
    pub fn args(&self) -> &str {
        &self.args
    }

    fn step(&mut self, c: char) {
        match self.place {
            Place::Between if c == '"' => {
                self.key.clear();
                self.enter(Place::Key);
            }
            Place::Between => {}
            Place::Key => match self.text.push(c) {
                Read::Char(c) => self.key.push(c),
                Read::Nothing => {}
                Read::End => self.place = Place::Colon,
            },
            Place::Colon if c == ':' || c.is_whitespace() => {}
            Place::Colon => self.value(c),
            Place::Thought => match self.text.push(c) {
                Read::Char(c) => self.thought.push(c),
                Read::Nothing => {}
                Read::End => self.place = Place::Between,
            },
            Place::Tool => match self.text.push(c) {
                Read::Char(c) => self.tool.push(c),
                Read::Nothing => {}
                Read::End => {
                    self.named = true;
                    self.place = Place::Between;
                }
            },
            Place::Args | Place::Other => self.nested(c),
        }
    }

    fn enter(&mut self, place: Place) {
        self.place = place;
        self.text = Text::default();
        self.depth = 0;
    }

    /// The first character of a member's value.
    fn value(&mut self, c: char) {
        match (self.key.as_str(), c) {
            ("thought", '"') => self.enter(Place::Thought),
            ("tool", '"') => self.enter(Place::Tool),
            ("args", _) => {
                self.enter(Place::Args);
                self.nested(c);
            }
            _ => {
                self.enter(Place::Other);
                self.nested(c);
            }
        }
    }

    /// A character of a value of any shape. `depth` counts brackets, and a string as one more.
    fn nested(&mut self, c: char) {
        const STRING: u32 = 1 << 16;
        if self.depth == 0 && matches!(c, ',' | '}') {
            self.place = Place::Between;
            return;
        }
        if self.place == Place::Args {
            self.args.push(c);
        }
        if self.depth >= STRING {
            if matches!(self.text.push(c), Read::End) {
                self.depth -= STRING;
            }
            return;
        }
        match c {
            '"' => {
                self.text = Text::default();
                self.depth += STRING;
            }
            '{' | '[' => self.depth += 1,
            '}' | ']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}
