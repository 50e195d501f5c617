//! Who is read next: what was written just now before what a walk found, and there the newest file
//! first. A source stands in at most one place, however often it is marked.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::discover::{Id, Queue, Tracked};

/// A source is read to its end at most this often; marks in between are one mark.
pub(crate) const SPACING: Duration = Duration::from_millis(20);

/// What a database that was heard of is asked once more after, from answer to answer: a commit of its
/// owner is heard as it is written to the log, is then flushed, and can be read only when it stands
/// in the log's index, which is shared memory and makes no sound.
pub(crate) const ECHOES: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_600),
];

#[derive(Debug, Default)]
pub(crate) struct Queues {
    live: VecDeque<Id>,
    /// By modification time, newest last.
    backlog: BTreeSet<(i64, Id)>,
    /// Marked too soon after their last turn.
    delayed: BTreeSet<(Instant, Id)>,
    /// To be marked when it is time, whatever else is heard until then.
    echoes: BTreeSet<(Instant, Id)>,
}

impl Queues {
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        let delayed = self.delayed.iter().map(|(_, id)| *id);
        self.live.iter().copied().chain(self.backlog()).chain(delayed)
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len() + self.backlog.len() + self.delayed.len()
    }

    pub(crate) fn backlog(&self) -> impl Iterator<Item = Id> + '_ {
        self.backlog.iter().map(|(_, id)| *id)
    }

    pub(crate) fn mark(&mut self, id: Id, tracked: &mut Tracked, queue: Queue, now: Instant) {
        if tracked.busy {
            tracked.again = true;
            return;
        }
        match (tracked.queued, queue) {
            (Some(Queue::Live), _) | (Some(Queue::Backlog), Queue::Backlog) => return,
            (Some(Queue::Backlog), Queue::Live) => {
                self.backlog.remove(&(tracked.source.mtime_ms, id));
            }
            (None, _) => {}
        }
        tracked.queued = Some(queue);
        match (queue, tracked.not_before) {
            (_, Some(at)) if at > now => {
                tracked.queued = Some(Queue::Live);
                self.delayed.insert((at, id));
            }
            (Queue::Backlog, _) => _ = self.backlog.insert((tracked.source.mtime_ms, id)),
            (Queue::Live, _) => self.live.push_back(id),
        }
    }

    /// A turn that a hint led to has ended: there is another one after a while.
    pub(crate) fn echo(&mut self, id: Id, tracked: &mut Tracked, now: Instant) {
        if let Some(at) = tracked.echo.take() {
            self.echoes.remove(&(at, id));
        }
        if let Some(pause) = ECHOES.get(tracked.echoes) {
            tracked.echoes += 1;
            tracked.echo = Some(now + *pause);
            self.echoes.insert((now + *pause, id));
        }
    }

    /// The next of those that are to be marked by now.
    pub(crate) fn pop_echo(&mut self, now: Instant) -> Option<Id> {
        self.echoes
            .first()
            .is_some_and(|(at, _)| *at <= now)
            .then(|| self.echoes.pop_first())?
            .map(|(_, id)| id)
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<Id> {
        while let Some(&(at, id)) = self.delayed.first()
            && at <= now
        {
            self.delayed.pop_first();
            self.live.push_back(id);
        }
        self.live.pop_front().or_else(|| self.backlog.pop_last().map(|(_, id)| id))
    }

    /// When the next source becomes due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.first().into_iter().chain(self.echoes.first()).map(|(at, _)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use crate::discover::tests::tracked;

    use super::*;

    #[test]
    fn h20_what_is_written_now_goes_before_what_a_walk_found_and_there_the_newest_first() {
        let mut all = [1, 3, 2, 0].map(tracked);
        let (mut queues, now) = (Queues::default(), Instant::now());
        for (id, tracked) in all.iter_mut().enumerate().take(3) {
            queues.mark(id, tracked, Queue::Backlog, now);
        }
        // The rest of a huge file waits there, too.
        assert_eq!(queues.pop(now), Some(1));
        all[1].queued = None;
        queues.mark(1, &mut all[1], Queue::Backlog, now);
        queues.mark(3, &mut all[3], Queue::Live, now);
        let order: Vec<_> = std::iter::from_fn(|| queues.pop(now)).collect();
        assert_eq!(order, [3, 1, 2, 0]);
    }

    #[test]
    fn h26_a_source_is_read_at_once_and_then_once_per_20_ms_however_often_it_is_marked() {
        let (mut queues, mut tracked) = (Queues::default(), tracked(0));
        let begin = Instant::now();
        let mut turns = Vec::new();
        // A hint each millisecond, and turns that take no time.
        for ms in 0..1_000 {
            let now = begin + Duration::from_millis(ms);
            for queue in [Queue::Live, Queue::Backlog, Queue::Live] {
                queues.mark(0, &mut tracked, queue, now);
            }
            assert!(queues.len() <= 1, "however many marks, one place");
            if queues.pop(now).is_some() {
                tracked.queued = None;
                tracked.not_before = Some(now + SPACING);
                turns.push(ms);
            }
            assert_eq!(queues.pop(now), None);
        }
        let expect: Vec<u64> = (0..1_000).step_by(20).collect();
        assert_eq!(turns, expect);
    }
}
