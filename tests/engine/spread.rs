//! Workers of which one accepts everything, as when the kernel's hash has bad luck.

use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, request};
use super::harness::{PATIENCE, Proxy, TARGET, echo};

on_both_engines! {
    what_one_worker_accepts_is_spread_over_all,
    a_worker_that_does_not_look_is_left_a_few,
    full_workers_leave_the_rest_to_those_with_room,
    room_at_another_worker_ends_the_wait,
    a_worker_that_has_ended_gets_nothing,
    what_waits_for_a_worker_ends_with_it,
}

/// Asks for a console and does not wait for the answer.
fn ask(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send(request(TARGET, &[]).as_bytes());
    client
}

fn assert_upgraded(client: &mut Client) {
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// Waits until the workers have so many sessions each.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn what_one_worker_accepts_is_spread_over_all(engine: &str) {
    const SESSIONS: usize = 120;
    let proxies = Proxy::start_several(engine, &[echo()], 4, |_| ());
    // Another one each time: what has ended is not counted any more.
    for accepting in &proxies[..2] {
        let mut clients: Vec<_> = (0..SESSIONS).map(|_| accepting.open()).collect();
        let open = || proxies.iter().map(Proxy::live).collect::<Vec<_>>();
        wait_for("not all sessions are told of", || open().iter().sum::<usize>() == SESSIONS);
        let (least, most) = (open().into_iter().min().unwrap(), open().into_iter().max().unwrap());
        assert!(most <= least + least / 4 + 1, "{:?}", open());
        for (number, client) in clients.iter_mut().enumerate() {
            let text = number.to_string().into_bytes();
            client.frame(2, &text);
            assert_eq!(client.read_frame(), (0x82, text));
        }
        drop(clients);
        proxies.iter().for_each(Proxy::wait_for_rest);
    }
    let opened = |proxy: &Proxy| proxy.counters().connections_opened.get();
    let closed = |proxy: &Proxy| proxy.counters().connections_closed.get();
    assert!(proxies.iter().all(|proxy| opened(proxy) == closed(proxy)));
}

fn a_worker_that_does_not_look_is_left_a_few(engine: &str) {
    const SESSIONS: usize = 350;
    /// What may wait for a worker
    const WAITING: usize = 128;
    let proxies = Proxy::start_several(engine, &[echo()], 2, |_| ());
    let held = proxies[1].hold();
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| ask(proxies[0].address)).collect();
    // A turn that has begun may take what was there by then.
    wait_for("the rest is not served meanwhile", || {
        (1..=2 * WAITING).contains(&(SESSIONS - proxies[0].live()))
            && proxies[0].live() >= SESSIONS - 2 * WAITING
    });
    drop(held);
    clients.iter_mut().for_each(assert_upgraded);
    wait_for("not all are served", || proxies[0].live() + proxies[1].live() == SESSIONS);
    drop(clients);
    proxies.iter().for_each(Proxy::wait_for_rest);
}

fn full_workers_leave_the_rest_to_those_with_room(engine: &str) {
    const SLOTS: usize = 5;
    let proxies = Proxy::start_several(engine, &[echo()], 3, |settings| {
        settings.limits.sessions_max = SLOTS as u64;
    });
    for _ in 0..5 {
        let first: Vec<_> = (0..3 * SLOTS).map(|_| proxies[0].open()).collect();
        let mut waiting: Vec<_> = (0..SLOTS).map(|_| ask(proxies[0].address)).collect();
        for client in &mut waiting {
            client.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            assert!(client.stream.read(&mut [0]).is_err(), "it was served");
            client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        wait_for("not full", || proxies.iter().all(|proxy| proxy.live() == SLOTS));
        drop(first);
        waiting.iter_mut().for_each(assert_upgraded);
    }
    proxies.iter().for_each(Proxy::wait_for_rest);
}

fn room_at_another_worker_ends_the_wait(engine: &str) {
    const SLOTS: usize = 5;
    let proxies = Proxy::start_several(engine, &[echo()], 2, |settings| {
        settings.limits.sessions_max = SLOTS as u64;
    });
    let mut clients: Vec<_> = (0..2 * SLOTS).map(|_| proxies[0].open()).collect();
    for _ in 0..20 {
        let mut waiting = ask(proxies[0].address);
        waiting.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(waiting.stream.read(&mut [0]).is_err(), "it was served");
        waiting.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The last one is the other worker's; nothing happens at the one that has the listen queue.
        drop(clients.pop());
        assert_upgraded(&mut waiting);
        clients.push(waiting);
    }
    drop(clients);
    proxies.iter().for_each(Proxy::wait_for_rest);
}

fn a_worker_that_has_ended_gets_nothing(engine: &str) {
    const SESSIONS: usize = 50;
    let mut proxies = Proxy::start_several(engine, &[echo()], 2, |_| ());
    proxies.remove(1).end();
    let clients: Vec<_> = (0..SESSIONS).map(|_| proxies[0].open()).collect();
    wait_for("the other keeps them all", || proxies[0].live() == SESSIONS);
    drop(clients);
    proxies[0].wait_for_rest();
}

fn what_waits_for_a_worker_ends_with_it(engine: &str) {
    const SESSIONS: usize = 60;
    let mut proxies = Proxy::start_several(engine, &[echo()], 2, |_| ());
    let held = proxies[1].hold();
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| ask(proxies[0].address)).collect();
    let kept = SESSIONS / 2;
    wait_for("nothing was left to the other", || (kept..SESSIONS).contains(&proxies[0].live()));
    proxies[1].shut_down();
    drop(held);
    proxies.remove(1).end();
    // Each was served, or learns that it will not be.
    let mut served = 0;
    for client in &mut clients {
        let mut first = [0];
        match client.stream.read(&mut first) {
            Ok(1) => served += 1,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert!(served >= proxies[0].live(), "{served} of {}", proxies[0].live());
    drop(clients);
    proxies[0].wait_for_rest();
}
