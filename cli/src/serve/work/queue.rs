//! Which run is driven next: a queue that is bounded, and fair between users.
//!
//! The next is a run of the user who has the fewest driven; between equals, of the one who has waited
//! longest since a run of theirs was begun. Within a user, the first comes first.

use std::collections::{BTreeMap, VecDeque};

use gpak_kernel::event::RunId;

/// The queue. It does no IO and knows no clock.
pub struct Queue {
    bound: usize,
    reserved: usize,
    users: BTreeMap<String, Line>,
    turn: u64,
}

/// What is known of a user.
#[derive(Default)]
struct Line {
    waiting: VecDeque<RunId>,
    driven: usize,
    last_turn: u64,
}

/// A place in the queue that is kept for a run that is being created. It is filled or freed.
#[must_use]
pub struct Place(());

impl Queue {
    /// With room for so many.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            reserved: 0,
            users: BTreeMap::new(),
            turn: 0,
        }
    }

    /// A place, if there is one.
    pub fn reserve(&mut self) -> Option<Place> {
        if self.len() + self.reserved >= self.bound {
            return None;
        }
        self.reserved += 1;
        Some(Place(()))
    }

    /// Lets a place go.
    pub fn free(&mut self, _: Place) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Puts a run at its place.
    pub fn fill(&mut self, place: Place, user: String, run: RunId) {
        self.free(place);
        self.push(user, run);
    }

    /// Puts a run in, even if there is no place. One that is there already stays where it is.
    pub fn push(&mut self, user: String, run: RunId) {
        if !self.contains(run) {
            self.users.entry(user).or_default().waiting.push_back(run);
        }
    }

    /// Takes the next run out; it counts as driven until [`Queue::done`].
    pub fn pop(&mut self) -> Option<(String, RunId)> {
        let waiting = self
            .users
            .iter_mut()
            .filter(|(_, line)| !line.waiting.is_empty());
        let (user, line) = waiting.min_by_key(|(_, line)| (line.driven, line.last_turn))?;
        let run = line.waiting.pop_front()?;
        self.turn += 1;
        line.driven += 1;
        line.last_turn = self.turn;
        Some((user.clone(), run))
    }

    /// A run of that user is no longer driven.
    pub fn done(&mut self, user: &str) {
        if let Some(line) = self.users.get_mut(user) {
            line.driven = line.driven.saturating_sub(1);
            if line.driven == 0 && line.waiting.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// Takes a run out that is not to be driven. False if it is not there.
    pub fn remove(&mut self, run: RunId) -> bool {
        for line in self.users.values_mut() {
            if let Some(at) = line.waiting.iter().position(|one| *one == run) {
                line.waiting.remove(at);
                return true;
            }
        }
        false
    }

    /// Whether a run is there.
    pub fn contains(&self, run: RunId) -> bool {
        self.users.values().any(|line| line.waiting.contains(&run))
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.users.values().map(|line| line.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128) -> RunId {
        RunId::from_u128(number)
    }

    #[test]
    fn a_user_with_many_runs_does_not_hold_up_another() {
        let mut queue = Queue::new(100);
        for number in 0..50 {
            queue.push("many".into(), run(number));
        }
        assert_eq!(queue.pop().unwrap().0, "many");
        assert_eq!(queue.pop().unwrap().0, "many");
        queue.push("one".into(), run(99));
        assert_eq!(queue.pop(), Some(("one".into(), run(99))));
        let order: Vec<_> = (0..3).map(|_| queue.pop().unwrap().1).collect();
        assert_eq!(order, [run(2), run(3), run(4)], "first come, first served");
    }

    #[test]
    fn users_take_turns() {
        let mut queue = Queue::new(100);
        for number in 0..6 {
            let user = if number % 2 == 0 { "a" } else { "b" };
            queue.push(user.into(), run(number));
        }
        let mut users = Vec::new();
        while let Some((user, _)) = queue.pop() {
            queue.done(&user);
            users.push(user);
        }
        assert_eq!(users, ["a", "b", "a", "b", "a", "b"]);
    }

    #[test]
    fn places_that_are_kept_count_as_taken() {
        let mut queue = Queue::new(2);
        let first = queue.reserve().unwrap();
        queue.push("a".into(), run(1));
        assert!(queue.reserve().is_none());
        queue.free(first);
        let second = queue.reserve().unwrap();
        queue.fill(second, "b".into(), run(2));
        assert!(queue.reserve().is_none());
        assert!(queue.remove(run(1)) && !queue.remove(run(1)));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_run_is_there_once() {
        let mut queue = Queue::new(2);
        queue.push("a".into(), run(1));
        queue.push("a".into(), run(1));
        assert_eq!(queue.len(), 1);
    }
}
