//! Connections spread over workers. The kernel hashes them over the workers' listeners, and where there are few
//! tenants, or the hash has bad luck, one worker gets most; consoles are few and long, so that this stays for hours.
//!
//! So a worker that has clearly more connections than the least loaded one hands those that it accepts to that one: the
//! descriptor and nothing else, before a byte is read and before a session is made. All that is shared is a number for
//! each worker; whoever hands over counts for the receiver at once, so that a burst does not go to one place.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};

use super::Wake;
use crate::telemetry::counters::handed_over;

/// How many connections more than the least loaded worker's are no reason to hand one over: chance alone brings as many.
const MARGIN: u32 = 8;

/// The share of the least loaded worker's connections that another may have more than it: a quarter.
const SHARE: u32 = 4;

/// Connections that wait for a worker to look, at most; those beyond are kept by the worker that accepted them.
const INBOX: usize = 128;

/// In a worker's number: it takes nothing from others, since it is not there yet or listens no more.
const ABSENT: u32 = 1 << 31;

/// An accepted connection on its way, and its peer's address.
type Handed = (TcpStream, SocketAddr);

/// What the workers know of each other.
#[derive(Debug)]
struct Place {
    worker: Worker,
    inbox: SyncSender<Handed>,
}

/// On a cache line of its own: its worker writes it at every accept and close.
#[derive(Default)]
#[repr(align(64))]
struct Worker {
    /// Connections that it has or is about to take, and [`ABSENT`]
    load: AtomicU32,
    /// It waits for room at any worker
    hungry: AtomicBool,
    waker: OnceLock<Arc<dyn Wake>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("load", &self.load).finish_non_exhaustive()
    }
}

/// One worker's place among the others, for its engine. That of a lone worker does nothing.
#[derive(Debug)]
pub struct Seat(Option<Shared>);

#[derive(Debug)]
struct Shared {
    places: Arc<[Place]>,
    own: usize,
    /// None once it listens no more
    inbox: Option<Receiver<Handed>>,
    /// The inbox may hold something
    waiting: bool,
    /// Was to be handed over and could not, when its own worker had no room
    returned: Option<Handed>,
    connections_max: u32,
}

/// The worker that the next connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lighter(usize);

impl Seat {
    /// The seat of a worker that is alone.
    #[must_use]
    pub fn alone() -> Self {
        Self(None)
    }

    /// The seats of `workers` that spread connections among them.
    #[must_use]
    pub fn among(workers: usize) -> Vec<Self> {
        if workers <= 1 {
            return vec![Self::alone()];
        }
        let place = |(inbox, receiver)| {
            let worker = Worker { load: AtomicU32::new(ABSENT), ..Worker::default() };
            (Place { worker, inbox }, receiver)
        };
        let (places, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| place(sync_channel(INBOX))).unzip();
        let places: Arc<[Place]> = places.into();
        let seat = |(own, inbox)| {
            Self(Some(Shared {
                places: Arc::clone(&places),
                own,
                inbox: Some(inbox),
                waiting: false,
                returned: None,
                connections_max: 0,
            }))
        };
        inboxes.into_iter().enumerate().map(seat).collect()
    }

    /// From now on others may hand over connections, up to `connections_max` with those that the worker accepts.
    pub(super) fn open(&mut self, connections_max: usize, waker: Arc<dyn Wake>) {
        let Some(shared) = &mut self.0 else { return };
        shared.connections_max = u32::try_from(connections_max).unwrap_or(ABSENT - 1).min(ABSENT - 1);
        let worker = shared.worker();
        // Fails only for a second call.
        let _ = worker.waker.set(waker);
        worker.load.fetch_and(!ABSENT, Ordering::Release);
    }

    /// Takes no more; what waits is closed, as what waits in the listen queue is.
    pub(super) fn close(&mut self) {
        let Some(shared) = &mut self.0 else { return };
        shared.worker().load.fetch_or(ABSENT, Ordering::Relaxed);
        shared.inbox = None;
        shared.returned = None;
        shared.waiting = false;
    }

    /// Counts a connection that the worker accepted and keeps.
    pub(super) fn taken(&self) {
        if let Some(shared) = &self.0 {
            shared.worker().load.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection that is gone.
    pub(super) fn left(&self) {
        let Some(shared) = &self.0 else { return };
        // In one order with what a hungry worker does, or it would see no room and this one no hunger.
        let before = shared.worker().load.fetch_sub(1, Ordering::SeqCst) & !ABSENT;
        if before >= shared.connections_max {
            shared.places.iter().for_each(|place| place.worker.feed());
        }
    }

    /// The worker that the next connection goes to, if not to this one: because this one has clearly more, or no `room`.
    pub(super) fn lighter(&self, room: bool) -> Option<Lighter> {
        let shared = self.0.as_ref()?;
        // Without its mark: a worker that listens no more may have accepted something before.
        let own = shared.worker().load.load(Ordering::Relaxed) & !ABSENT;
        if (room && own < MARGIN) || shared.returned.is_some() {
            return None;
        }
        if !room {
            shared.worker().hungry.store(true, Ordering::SeqCst);
        }
        let loads = shared.places.iter().map(|place| place.worker.load.load(Ordering::SeqCst)).enumerate();
        let others = loads.filter(|(index, _)| *index != shared.own);
        let (index, least) = others.min_by_key(|(_, load)| *load)?;
        let heavy = !room || (own >= least.saturating_add(MARGIN) && own - least > least / SHARE);
        (heavy && least < shared.connections_max).then_some(Lighter(index))
    }

    /// Hands a connection over. It comes back if the other worker takes no more.
    pub(super) fn hand_over(&self, to: Lighter, stream: TcpStream, peer: SocketAddr) -> Result<(), Handed> {
        let place = self.0.as_ref().and_then(|shared| shared.places.get(to.0));
        let Some(Place { worker, inbox }) = place else { return Err((stream, peer)) };
        worker.load.fetch_add(1, Ordering::Relaxed);
        match inbox.try_send((stream, peer)) {
            Ok(()) => {
                worker.wake();
                handed_over().add(1);
                Ok(())
            }
            Err(TrySendError::Full(handed) | TrySendError::Disconnected(handed)) => {
                worker.load.fetch_sub(1, Ordering::Relaxed);
                Err(handed)
            }
        }
    }

    /// Keeps a connection that came back until there is room for it. At most one: see [`Seat::lighter`].
    pub(super) fn keep(&mut self, returned: Handed) {
        self.taken();
        if let Some(shared) = &mut self.0 {
            shared.returned = Some(returned);
        }
    }

    /// Somebody woke the worker, maybe for a connection.
    pub(super) fn woken(&mut self) {
        if let Some(shared) = &mut self.0 {
            shared.waiting = shared.inbox.is_some();
        }
    }

    /// The next connection that waits for this worker. It is counted already.
    pub(super) fn next(&mut self) -> Option<Handed> {
        let shared = self.0.as_mut()?;
        if let Some(returned) = shared.returned.take() {
            return Some(returned);
        }
        if !shared.waiting {
            return None;
        }
        let next = shared.inbox.as_ref().and_then(|inbox| inbox.try_recv().ok());
        shared.waiting = next.is_some();
        next
    }
}

impl Worker {
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// Lets it look whether there is room.
    fn feed(&self) {
        if self.hungry.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }
}

impl Shared {
    fn worker(&self) -> &Worker {
        // `own` is a place's index, by how seats are made.
        &self.places[self.own].worker
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A worker that failed: the others keep what they have until the process ends.
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    const MAX: usize = 1_000;

    fn seats(workers: usize) -> Vec<Seat> {
        let mut seats = Seat::among(workers);
        seats.iter_mut().for_each(|seat| seat.open(MAX, Arc::new(Nobody)));
        seats
    }

    fn load(seat: &Seat) -> usize {
        usize::try_from(seat.0.as_ref().unwrap().worker().load.load(Ordering::Relaxed)).unwrap()
    }

    fn connection() -> Handed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (stream, listener.local_addr().unwrap())
    }

    /// Accepts one connection at a worker.
    fn accept(seats: &[Seat], at: usize) {
        match seats[at].lighter(true) {
            Some(to) => {
                let (stream, peer) = connection();
                seats[at].hand_over(to, stream, peer).unwrap();
            }
            None => seats[at].taken(),
        }
    }

    #[test]
    fn what_one_listener_gets_is_spread_over_all() {
        let seats = seats(4);
        (0..400).for_each(|_| accept(&seats, 2));
        let loads: Vec<_> = seats.iter().map(load).collect();
        assert_eq!(loads.iter().sum::<usize>(), 400);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        // A quarter, and the connection that made it more.
        assert!(*most <= least + least / 4 + 1, "{loads:?}");
    }

    #[test]
    fn what_chance_makes_uneven_stays() {
        let seats = seats(2);
        (0..MARGIN).for_each(|_| seats[0].taken());
        assert_eq!((seats[0].lighter(true), seats[1].lighter(true)), (Some(Lighter(1)), None));
        seats[1].taken();
        assert_eq!(seats[0].lighter(true), None, "fewer than the margin");
        (0..100).for_each(|_| seats.iter().for_each(Seat::taken));
        (0..10).for_each(|_| seats[0].taken());
        assert_eq!(seats[0].lighter(true), None, "less than a quarter");
        (0..10).for_each(|_| seats[0].taken());
        assert_eq!(seats[0].lighter(true), Some(Lighter(1)));
    }

    #[test]
    fn a_full_worker_hands_over_as_long_as_any_has_room() {
        let seats = seats(3);
        (0..MAX).for_each(|_| seats[0].taken());
        (0..MAX - 1).for_each(|_| seats[1].taken());
        (0..MAX).for_each(|_| seats[2].taken());
        assert_eq!(seats[0].lighter(true), None);
        assert_eq!(seats[0].lighter(false), Some(Lighter(1)));
        seats[1].taken();
        assert_eq!(seats[0].lighter(false), None);
    }

    #[test]
    fn a_worker_that_does_not_look_or_listens_no_more_gets_nothing_further() {
        let mut seats = seats(2);
        (0..MAX).for_each(|_| seats[0].taken());
        for _ in 0..INBOX {
            let (stream, peer) = connection();
            seats[0].hand_over(Lighter(1), stream, peer).unwrap();
        }
        let (stream, peer) = connection();
        let returned = seats[0].hand_over(Lighter(1), stream, peer).unwrap_err();
        assert_eq!(load(&seats[1]), INBOX, "what came back is not counted");
        seats[0].keep(returned);
        assert_eq!((load(&seats[0]), seats[0].lighter(false)), (MAX + 1, None));
        assert!(seats[0].next().is_some() && seats[0].next().is_none());

        assert!(seats[1].next().is_none(), "nobody woke it");
        seats[1].woken();
        assert!(seats[1].next().is_some());
        seats[1].close();
        assert!(seats[1].next().is_none());
        assert_eq!(seats[0].lighter(true), None);
        let (stream, peer) = connection();
        assert!(seats[0].hand_over(Lighter(1), stream, peer).is_err());
        seats[1].left();
        assert_eq!(seats[0].lighter(false), None, "it stays absent while its sessions end");
    }

    #[test]
    fn a_lone_worker_keeps_everything() {
        let mut seat = Seat::among(1).remove(0);
        seat.open(MAX, Arc::new(Nobody));
        (0..100).for_each(|_| seat.taken());
        assert_eq!((seat.lighter(true), seat.lighter(false)), (None, None));
        assert!(seat.0.is_none() && seat.next().is_none());
    }
}
