//! A stretch of a run as a stream of events.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
use gpak_kernel::{event::RunId, journal::EntryStream};

use super::pieces::{Piece, Pieces};
use crate::serve::House;

/// How often a stream on which nothing happens shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Says pieces in one of the protocols.
pub trait Encode: Send + 'static {
    /// The stretch has begun.
    fn begin(&mut self, stretch: &Pieces) -> Vec<Event>;
    /// Something is told.
    fn piece(&mut self, stretch: &Pieces, piece: Piece) -> Vec<Event>;
}

struct Told<E> {
    entries: EntryStream,
    stretch: Pieces,
    encode: E,
    begun: bool,
    ready: VecDeque<Event>,
}

impl<E: Encode> Told<E> {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            if self.stretch.end.is_some() {
                return None;
            }
            let entry = match self.entries.next().await? {
                Ok(entry) => entry,
                Err(why) => {
                    tracing::error!("a stream ends: {why}");
                    return None;
                }
            };
            let is_part = entry.seq >= self.stretch.start;
            let pieces = self.stretch.take(entry);
            if is_part && !self.begun {
                self.begun = true;
                self.ready.extend(self.encode.begin(&self.stretch));
            }
            for piece in pieces {
                let events = self.encode.piece(&self.stretch, piece);
                self.ready.extend(events);
            }
        }
    }
}

/// The stretch of a run that begins with that entry, as it comes.
pub fn told(house: &House, run: RunId, start: u64, encode: impl Encode) -> Response {
    let told = Told {
        entries: house.work.journal().watch(run, 1),
        stretch: Pieces::new(run, start),
        encode,
        begun: false,
        ready: VecDeque::new(),
    };
    let watcher = house.metrics.watcher();
    let stop = house.stop.clone().cancelled_owned();
    let events = stream::unfold(told, Told::next)
        .take_until(stop)
        .map(move |event| {
            let _open = &watcher;
            event
        });
    answer(events)
}

/// A stream of events as an answer.
pub fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    let events = events.map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(alive).into_response();
    // For proxies that would hold events back.
    let name = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("no"));
    response
}
