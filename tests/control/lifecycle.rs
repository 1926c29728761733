//! The thread's queue, its signals and its end.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use consolegate::control::{Command, Control, ControlSettings};
use consolegate::session::{AuthorizeError, Failure, Input, Question};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{
    Scratch, TOKEN, answer, ask, create, settings, settings_for, start, token_question, with_connection,
};

/// No test waits that long unless something is broken.
const SOON: Duration = Duration::from_secs(60);

fn question() -> Question {
    token_question(TOKEN)
}

/// A control thread with room for sixteen questions.
fn small(database: &Path) -> Control {
    let mut settings = settings_for(database);
    settings.limits.control_queue_max = 16;
    start(settings)
}

fn fill(control: &Control) -> Vec<Receiver<Input>> {
    let authorizer = control.authorizer();
    std::iter::from_fn(|| ask(&*authorizer, question()).ok()).take(1_000).collect()
}

#[test]
fn a_full_queue_refuses_and_every_accepted_question_is_answered_once() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    let control = small(&database);
    // Questions end while others are asked, so at least as many are taken as there are places.
    let accepted = fill(&control);
    assert!((16..1_000).contains(&accepted.len()), "{} accepted", accepted.len());
    for answers in &accepted {
        assert!(matches!(answers.recv_timeout(SOON), Ok(Input::Authorized(_))));
        assert!(answers.recv().is_err(), "answered twice");
    }
    assert!(matches!(answer(&control, question()), Input::Authorized(_)), "places come back");
}

/// Runs `test` while another process holds the database's lock.
fn while_locked(database: &Path, test: impl FnOnce()) {
    create(database, &["--init"]);
    with_connection(database, async |connection| {
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(connection).await.unwrap();
        test();
    });
}

fn database_error(answers: &Receiver<Input>) -> String {
    let answer = answers.recv_timeout(SOON).expect("a question stayed open");
    let Input::Failed(Failure::Authorize(AuthorizeError::Database(reason))) = answer else {
        panic!("{answer:?}")
    };
    assert!(answers.recv().is_err(), "answered twice");
    reason
}

#[test]
fn shutdown_answers_open_questions_and_refuses_later_ones() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    while_locked(&database, || {
        let mut settings = settings_for(&database);
        settings.limits.control_queue_max = 16;
        // Whoever waits for the lock waits for longer than the test.
        settings.limits.authorize_timeout_ms = 600_000;
        settings.limits.database_timeout_ms = 600_000;
        let control = start(settings);
        let authorizer = control.authorizer();
        let accepted = fill(&control);
        assert_eq!(accepted.len(), 16, "one place per open question");
        assert!(control.join(SOON), "the thread did not end");
        for answers in &accepted {
            assert!(database_error(answers).contains("gave the question up"));
        }
        assert!(ask(&*authorizer, question()).is_err());
    });
}

#[test]
fn waiting_for_a_turn_counts_against_the_time_limit() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    while_locked(&database, || {
        let mut settings = settings_for(&database);
        settings.limits.authorize_timeout_ms = 500;
        settings.limits.control_queue_max = 1_000;
        let turns = 800 / settings.limits.database_connections_max;
        let control = start(settings);
        let authorizer = control.authorizer();
        let asked = Instant::now();
        let accepted: Vec<_> = (0..800).map(|_| ask(&*authorizer, question()).unwrap()).collect();
        let reasons: Vec<_> = accepted.iter().map(database_error).collect();
        // Half a second for each turn, if the wait did not count.
        let one_by_one = Duration::from_millis(500) * u32::try_from(turns).unwrap();
        assert!(asked.elapsed() < one_by_one / 2, "{:?}", asked.elapsed());
        // Whichever of the clocks that began together is looked at first.
        for reason in &reasons {
            let known = ["is locked", "no answer within", "did not answer a query within", "became free in"];
            assert!(known.iter().any(|known| reason.contains(known)), "{reason}");
        }
    });
}

#[test]
fn start_contacts_nothing() {
    let scratch = Scratch::new();
    let missing = scratch.path("no/such/cell.db");
    let settings = ControlSettings { web_root: Some(scratch.path("no/such/root")), ..settings_for(&missing) };
    assert!(start(settings).join(SOON));
    assert!(!missing.exists());
}

#[test]
fn every_signal_is_a_command_and_none_kills() {
    let (sender, commands) = channel();
    let on_signal = Box::new(move |command| sender.send(command).unwrap_or_default());
    let _control = start(ControlSettings { on_signal, ..settings() });
    for (signal, command) in [
        (Signal::SIGHUP, Command::Reload),
        (Signal::SIGUSR1, Command::Reopen),
        (Signal::SIGUSR2, Command::Report),
        (Signal::SIGTERM, Command::Stop),
        (Signal::SIGINT, Command::Stop),
        (Signal::SIGQUIT, Command::Drain),
    ] {
        kill(Pid::this(), signal).unwrap();
        assert_eq!(commands.recv_timeout(SOON), Ok(command), "{signal}");
    }
}
