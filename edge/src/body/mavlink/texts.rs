//! Words as text messages, which ground stations show and say.

use ::mavlink::dialects::common::{MavMessage, MavSeverity, STATUSTEXT_DATA};

/// Of a text message, so many bytes go into a piece, and so many pieces are said at most.
const PIECE: usize = 50;
const PIECES: u8 = 10;

/// The messages of a text, which all bear its number: not zero, which says that there is one piece.
pub(super) fn pieces(number: u16, text: &str) -> impl Iterator<Item = MavMessage> {
    let pieces = (0..PIECES).zip(text.as_bytes().chunks(PIECE));
    pieces.map(move |(chunk_seq, piece)| {
        let mut bytes = [0; PIECE];
        for (to, byte) in bytes.iter_mut().zip(piece) {
            *to = *byte;
        }
        MavMessage::STATUSTEXT(STATUSTEXT_DATA {
            severity: MavSeverity::MAV_SEVERITY_NOTICE,
            text: bytes.into(),
            id: number,
            chunk_seq,
        })
    })
}
