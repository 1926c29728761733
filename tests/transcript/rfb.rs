//! Plays the transcripts in `tests/transcript/rfb`.

use std::collections::VecDeque;
use std::path::Path;

use consolegate::proto::Side;
use consolegate::proto::rfb::{AuthScheme, Negotiation, Progress, Residue, RfbError, Transmit};

use crate::script::{Statement, parse};

#[test]
fn the_handshake_goes_as_the_transcripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcript/rfb");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().display().to_string();
        Play::new(&name).play(parse(&std::fs::read_to_string(&path).unwrap()));
        played += 1;
    }
    assert!(played > 20, "only {played} transcripts were found");
}

struct Play<'a> {
    name: &'a str,
    negotiation: Negotiation,
    sent: VecDeque<Transmit>,
    end: Option<Result<Residue, RfbError>>,
    /// The transcript has said how it ends.
    closed: bool,
}

impl<'a> Play<'a> {
    fn new(name: &'a str) -> Self {
        let negotiation = Negotiation::new(&[AuthScheme::None]);
        Self { name, negotiation, sent: VecDeque::new(), end: None, closed: false }
    }

    fn play(mut self, statements: Vec<Statement>) {
        for statement in statements {
            self.statement(statement);
        }
        self.all_listed();
        assert!(self.closed, "{}: neither close nor relay", self.name);
        if let Some(Ok(residue)) = self.end {
            assert_eq!((residue.to_tenant, residue.to_compute), (vec![], vec![]), "{}: unlisted", self.name);
        }
    }

    fn statement(&mut self, statement: Statement) {
        let name = self.name;
        let mut out = Vec::new();
        match statement {
            Statement::Schemes(list) => self.negotiation = Negotiation::new(&schemes(&list)),
            Statement::Sends(side, bytes) => {
                self.all_listed();
                match self.negotiation.receive(side, &bytes, &mut out) {
                    Ok(Progress::Continue) => {}
                    Ok(Progress::StartTls(_)) => panic!("{}: TLS is played in tests/rfb", self.name),
                    Ok(Progress::Established(residue)) => self.end = Some(Ok(residue)),
                    Err(error) => self.end = Some(Err(error)),
                }
            }
            Statement::Ends(side) => {
                self.all_listed();
                self.end = self.negotiation.ended(side, &mut out).err().map(Err);
            }
            Statement::TimeOut => {
                self.all_listed();
                self.end = Some(Err(self.negotiation.timed_out(&mut out)));
            }
            Statement::Gets(side, bytes) => self.gets(side, &bytes),
            Statement::Close(text) => {
                let Some(Err(error)) = &self.end else { panic!("{name}: not closed: {:?}", self.end) };
                assert_eq!(error.to_string(), text, "{name}");
                self.closed = true;
            }
            Statement::Relay => {
                assert!(matches!(self.end, Some(Ok(_))), "{name}: no relay: {:?}", self.end);
                self.closed = true;
            }
        }
        self.sent.extend(out);
    }

    fn gets(&mut self, side: Side, bytes: &[u8]) {
        let name = self.name;
        if let (Some(Ok(residue)), true) = (&mut self.end, self.closed) {
            let residue = if side == Side::Tenant { &mut residue.to_tenant } else { &mut residue.to_compute };
            assert_eq!(residue.escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{name}");
            residue.clear();
            return;
        }
        let at = self.sent.iter().position(|sent| sent.to == side);
        let sent = at.and_then(|at| self.sent.remove(at));
        let sent = sent.unwrap_or_else(|| panic!("{name}: {side} gets nothing"));
        assert_eq!(
            sent.message.as_bytes().escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "{name}"
        );
    }

    /// Nothing was sent that the transcript does not list.
    fn all_listed(&self) {
        assert!(self.sent.is_empty(), "{}: unlisted: {:?}", self.name, self.sent);
    }
}

fn schemes(list: &str) -> Vec<AuthScheme> {
    let scheme = |name| match name {
        "none" => AuthScheme::None,
        "vencrypt" => AuthScheme::VeNCrypt,
        _ => panic!("unknown scheme {name}"),
    };
    list.split(',').map(scheme).collect()
}
