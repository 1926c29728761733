use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// None where the kernel denies the ring.
fn ring() -> Option<Ring> {
    match Ring::new(4, 4_096, 1 << 20) {
        Ok(ring) => Some(ring),
        Err((step, error)) => {
            println!("SKIPPED: {step}: {error}");
            None
        }
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // As the engine has them.
    first.set_nonblocking(true).unwrap();
    (first, listener.accept().unwrap().0)
}

const ID: SessionId = SessionId { index: 2, generation: 5 };

fn next(ring: &mut Ring) -> Completion {
    loop {
        if let Some(completion) = ring.next() {
            return completion;
        }
        ring.enter(1, Some(Duration::from_secs(10))).unwrap();
    }
}

#[test]
fn an_operation_off_the_list_is_refused_by_the_kernel() {
    let Some(mut ring) = ring() else { return };
    let nop = opcode::Nop::new().build().user_data(0);
    // SAFETY: a nop names no memory.
    unsafe { ring.io.submission().push(&nop) }.unwrap();
    ring.io.submit_and_wait(1).unwrap();
    let entry = ring.io.completion().next().unwrap();
    assert_eq!(entry.result(), -libc::EACCES);
    assert!(ring.io.submitter().unregister_files().is_err(), "a registration off the list");
}

#[test]
fn bytes_come_in_a_buffer_of_the_ring_and_leave_from_their_own() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = pair();
    ring.set_file(FileSlot::of(ID.index, Side::Tenant), Some(ours.as_fd())).unwrap();
    ring.start(Operation::Recv { id: ID, from: Side::Tenant, wait_first: false });
    ring.enter(0, None).unwrap();
    theirs.write_all(b"hello").unwrap();
    let Completion::Received { id: ID, from: Side::Tenant, result, more: false } = next(&mut ring) else {
        panic!()
    };
    let chunk = result.unwrap();
    assert_eq!((chunk.bytes(), chunk.capacity()), (b"hello".as_slice(), 4_096));
    ring.start(Operation::Send { id: ID, to: Side::Tenant, chunk, whole: true });
    let Completion::Sent { chunk, result, .. } = next(&mut ring) else { panic!() };
    assert_eq!(result.unwrap(), 5);
    assert!(ring.recycle(chunk).is_none(), "it belongs to the ring");
    let mut echo = [0; 5];
    theirs.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    drop(theirs);
    ring.start(Operation::Recv { id: ID, from: Side::Tenant, wait_first: true });
    let Completion::Received { result, .. } = next(&mut ring) else { panic!() };
    assert!(result.unwrap().is_empty(), "the end of the stream");
}

#[test]
fn a_cancelled_operation_comes_back_with_its_memory() {
    let Some(mut ring) = ring() else { return };
    let (ours, _theirs) = pair();
    ring.set_file(FileSlot::of(ID.index, Side::Compute), Some(ours.as_fd())).unwrap();
    let key = ring.start(Operation::Recv { id: ID, from: Side::Compute, wait_first: false });
    ring.start(Operation::Cancel { id: Some(ID), target: key });
    let mut seen = [false; 2];
    for _ in 0..2 {
        match next(&mut ring) {
            Completion::Received { result: Err(error), .. } => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                seen[0] = true;
            }
            Completion::Counted(ID) => seen[1] = true,
            _ => panic!(),
        }
    }
    assert_eq!(seen, [true; 2]);
    assert_eq!(ring.under_way(), 2, "the waker's read and the alarm's poll");
}

#[test]
fn more_submissions_than_the_queue_holds_are_all_made() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = pair();
    ring.set_file(FileSlot::of(ID.index, Side::Tenant), Some(ours.as_fd())).unwrap();
    let sends = SUBMISSIONS as usize * 2 + 1;
    for _ in 0..sends {
        ring.start(Operation::Send {
            id: ID,
            to: Side::Tenant,
            chunk: Chunk::copied_from(b"x"),
            whole: true,
        });
    }
    for _ in 0..sends {
        let Completion::Sent { result: Ok(1), .. } = next(&mut ring) else { panic!() };
    }
    let mut bytes = vec![0; sends];
    theirs.read_exact(&mut bytes).unwrap();
}

#[test]
fn dropping_a_ring_ends_what_is_under_way() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = pair();
    theirs.set_nonblocking(true).unwrap();
    ring.set_file(FileSlot::of(ID.index, Side::Tenant), Some(ours.as_fd())).unwrap();
    ring.start(Operation::Recv { id: ID, from: Side::Tenant, wait_first: false });
    // More than both socket buffers take: the send waits.
    let chunk = Chunk::copied_from(&vec![7; 64 << 20]);
    ring.start(Operation::Send { id: ID, to: Side::Tenant, chunk, whole: true });
    ring.enter(0, None).unwrap();
    let before = Instant::now();
    drop(ring);
    assert!(before.elapsed() < QUIESCE, "it gave up and leaked");
    drop(ours);
    let mut bytes = [0; 65_536];
    while !matches!(theirs.read(&mut bytes), Ok(0) | Err(_)) {}
}

#[test]
fn waking_completes_each_time() {
    let Some(mut ring) = ring() else { return };
    let mut event = ring.event().unwrap();
    for _ in 0..3 {
        event.write_all(&1_u64.to_ne_bytes()).unwrap();
        assert!(matches!(next(&mut ring), Completion::Woken));
    }
}
