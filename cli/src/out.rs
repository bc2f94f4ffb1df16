//! Standard output. Who reads it may have read enough, as `head` does: then the command ends, and says nothing.

use std::{
    fmt,
    io::{ErrorKind, Write as _},
};

use crate::failure::DONE;

/// A line on standard output.
macro_rules! say {
    () => { $crate::out::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Text on standard output, without an end of line.
macro_rules! say_text {
    ($($text:tt)*) => { $crate::out::write(format_args!($($text)*)) };
}

/// Writes to standard output. What is behind `say!` and `say_text!`.
pub fn write(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(why) if why.kind() == ErrorKind::BrokenPipe => std::process::exit(i32::from(DONE)),
        Err(why) => eprintln!("gpak: this cannot be written to standard output: {why}"),
    }
}
