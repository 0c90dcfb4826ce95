//! Where messages are that are about to be opened, as the audit log tells it. Held are stretches and not messages.

use std::collections::BTreeMap;

use super::Position;

/// More places than an entry of the audit log should list.
const MANY: usize = 64;

/// Stretches without a gap: where each begins, and the offset behind its last. None touches another.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Position, i64>);

impl Places {
    /// Messages, in any order. One that is there twice is in one place.
    pub(super) fn add(&mut self, mut rows: Vec<Position>) {
        rows.sort_unstable();
        let goes_on = |a: &Position, b: &Position| is_beside(a, b) && b.offset <= end(a);
        for stretch in rows.chunk_by(goes_on) {
            if let (Some(first), Some(last)) = (stretch.first(), stretch.last()) {
                self.join(first.clone(), end(last));
            }
        }
    }

    /// Adds a stretch, as one with those that it touches.
    fn join(&mut self, mut first: Position, mut end: i64) {
        if let Some((before, ended)) = self.0.range(..=first.clone()).next_back()
            && is_beside(before, &first)
            && *ended >= first.offset
        {
            end = end.max(*ended);
            first = before.clone();
        }
        while let Some((next, ended)) = self.0.range(first.clone()..).next()
            && is_beside(next, &first)
            && next.offset <= end
        {
            end = end.max(*ended);
            let next = next.clone();
            self.0.remove(&next);
        }
        self.0.insert(first, end);
    }

    /// A place for each stretch, `topic/partition/from..to`, or for each topic if those are many.
    pub(super) fn told(&self) -> Vec<String> {
        let mut spans: Vec<(&Position, i64)> = Vec::new();
        for (first, end) in &self.0 {
            match spans.last_mut() {
                Some((before, ended)) if self.0.len() > MANY && is_beside(before, first) => {
                    *ended = *end;
                }
                _ => spans.push((first, *end)),
            }
        }
        let place = |(first, end): &(&Position, i64)| {
            let Position { topic, partition, offset } = first;
            format!("{topic}/{partition}/{offset}..{end}")
        };
        let mut places: Vec<String> = spans.iter().take(MANY).map(place).collect();
        let more = spans.len().saturating_sub(MANY);
        if more > 0 {
            places.push(format!("and {more} more"));
        }
        places
    }
}

fn is_beside(a: &Position, b: &Position) -> bool {
    a.topic == b.topic && a.partition == b.partition
}

/// The offset behind it.
fn end(at: &Position) -> i64 {
    at.offset.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(topic: &str, offset: i64) -> Position {
        Position { topic: topic.into(), partition: 2, offset }
    }

    fn told(rows: impl IntoIterator<Item = Position>) -> Vec<String> {
        let mut places = Places::default();
        places.add(rows.into_iter().collect());
        places.told()
    }

    #[test]
    fn what_is_opened_is_told_by_stretches_of_each_topic() {
        assert!(told([]).is_empty());
        let rows = [row("b", 10), row("a", 4), row("a", 9), row("a", 3), row("a", 4)];
        assert_eq!(told(rows), ["a/2/3..5", "a/2/9..10", "b/2/10..11"]);
        let gaps = |numbers: std::ops::Range<i64>| numbers.map(|n| row("a", 2 * n));
        assert_eq!(told(gaps(1..65)).len(), 64);
        assert_eq!(told(gaps(0..65)), ["a/2/0..129"]);
        let many = told((100..200).map(|n| row(&n.to_string(), i64::MAX)));
        assert_eq!((many.len(), many.last().unwrap().as_str()), (65, "and 36 more"));
    }

    #[test]
    fn messages_of_many_files_are_held_as_the_stretches_that_they_make() {
        let mut places = Places::default();
        // Hundreds, every other one first, and then those between them; some are in two files.
        for file in (0..1_000).step_by(2).chain((1..1_000).step_by(2)).chain([7, 8]) {
            let first = file * 100;
            places.add((first..first + 100).rev().map(|offset| row("a", offset)).collect());
            places.add(vec![row("b", file)]);
        }
        assert_eq!(places.0.len(), 2);
        places.add((150..250).map(|offset| row("a", offset)).collect());
        places.add(vec![row("a", 100_001)]);
        assert_eq!(places.told(), ["a/2/0..100000", "a/2/100001..100002", "b/2/0..1000"]);
    }
}
