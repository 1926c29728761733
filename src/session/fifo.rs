//! A queue that seldom holds more than one thing.

use std::collections::VecDeque;

/// First in, first out. The first has its place here, and room for others is given back when they are gone: every
/// session under TLS pays for two of these while it rests.
#[derive(Debug)]
pub(super) struct Fifo<T> {
    // INVARIANT: where there is no first, there are no others.
    first: Option<T>,
    others: VecDeque<T>,
}

impl<T> Fifo<T> {
    pub(super) fn new() -> Self {
        Self { first: None, others: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.others.push_back(item);
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.first.take()?;
        self.first = self.others.pop_front();
        if self.others.is_empty() && self.others.capacity() > 0 {
            self.others = VecDeque::new();
        }
        Some(item)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_leaves_first_and_nothing_is_kept_behind_it() {
        let mut fifo = Fifo::new();
        for round in 1..5 {
            (0..round).for_each(|item| fifo.push(item));
            assert!(!fifo.is_empty());
            assert_eq!(fifo.pop(), Some(0));
            fifo.push(round);
            let rest: Vec<_> = std::iter::from_fn(|| fifo.pop()).collect();
            assert_eq!(rest, (1..=round).collect::<Vec<_>>());
            assert!(fifo.is_empty() && fifo.others.capacity() == 0);
        }
        fifo.push(1);
        fifo.push(2);
        fifo.clear();
        assert_eq!(fifo.pop(), None);
    }
}
