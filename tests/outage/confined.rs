//! `[consolegate] sandbox = required` leaves the way to the real services open: an option file, the database's socket,
//! the broker, names.

use std::fs;

use crate::program::{Options, Program, directory};
use crate::world::{Fate, World, open};

#[test]
fn required_reaches_the_databases_socket_the_broker_and_names() {
    let world = World::new();
    let files = directory();
    let fact = |name| world.database.text(name);
    let option_file = format!(
        "[client]\nuser = {}\npassword = '{}'\nsocket = {}\n",
        fact("/user"),
        fact("/password"),
        fact("/socket")
    );
    fs::write(files.join("my.cnf"), option_file).unwrap();
    let default = format!(
        "web =\ntransport_url = rabbit://nova:pa55-wort@localhost:{}/nova",
        world.broker.text("/port")
    );
    let extra = format!(
        "sandbox = required\n[database]\nconnection = mysql+pymysql://localhost/{}?read_default_file={}",
        fact("/database"),
        files.join("my.cnf").display()
    );
    for engine in ["epoll", "io_uring"]
        .into_iter()
        .filter(|engine| *engine == "epoll" || crate::engines::has_io_uring())
    {
        let options = Options { name: "nova-serialproxy", default: &default, own: "", extra: &extra, engine };
        let program = Program::start_with(&options, |command| {
            command.env_remove("OS_CONSOLEGATE__SANDBOX");
        });
        program.wait_for_log("] sandbox: no new privileges, no core dumps, landlock ABI ");
        // Its port is checked by the compute service.
        let token = world.token_at(&program, "localhost");
        assert_eq!(open(&program, &token.text).0, Fate::Admitted, "{}", program.log());
    }
    fs::remove_dir_all(files).unwrap();
}
