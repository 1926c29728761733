//! The control thread: takes questions, and answers late, wrongly or never.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consolegate::console::{ConnectInfo, ConsoleToken, ConsoleType};
use consolegate::proto::bytes::Chunk;
use consolegate::proto::http::FileMeta;
use consolegate::session::{
    Admitted, AuthorizeError, Authorizer, Failure, FileEvent, FileHandle, Input, Notice, Overloaded,
    Question, Reply,
};

use crate::notices::Notices;
use crate::secrets;

/// How one kind of question of one tenant is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    After(Duration),
    Fails(Duration),
    Never,
    Overloaded,
}

/// What the control thread knows of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) authorize: Answer,
    pub(crate) resolve: Answer,
    pub(crate) file: Answer,
    pub(crate) console_type: ConsoleType,
    pub(crate) tunnel: bool,
    pub(crate) addresses: usize,
}

pub(crate) struct Asked {
    pub(crate) tenant: usize,
    pub(crate) answer: Answer,
    pub(crate) question: Question,
    pub(crate) reply: Reply,
}

/// Which phase asks this.
pub(crate) fn phase_of(question: &Question) -> &'static str {
    match question {
        Question::Authorize { .. } => "authorizing",
        Question::Resolve { .. } => "connecting",
        Question::OpenFile { .. } | Question::ReadFile { .. } => "responding",
    }
}

#[derive(Default)]
pub(crate) struct SimAuthorizer {
    known: Vec<Known>,
    tokens: HashMap<[u8; 32], usize>,
    asked: Mutex<Vec<Asked>>,
    overloaded: Mutex<Vec<(usize, &'static str)>>,
    pub(crate) notices: Mutex<Notices>,
}

/// A web file of the simulation: its length and how far it can be read.
struct SimFile {
    tenant: usize,
    len: usize,
}

/// How many bytes of a file one answer brings.
const PIECE: usize = 700;

pub(crate) fn token(tenant: usize) -> String {
    format!("70ce4a11-5e55-4000-8000-{tenant:012}")
}

/// What else a tenant sends that no log may show.
pub(crate) const COOKIE: &str = "0123-session-cookie-of-the-dashboard";

/// Where a console is behind its proxy: as good as a token, there.
const ACCESS_PATH: &str = "/console?ref=OpaqueRef:3f5a-session";

pub(crate) fn file_bytes(offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

impl SimAuthorizer {
    pub(crate) fn new(known: Vec<Known>) -> Arc<Self> {
        (0..known.len()).for_each(|tenant| secrets::issue_token(&token(tenant)));
        [COOKIE, ACCESS_PATH].into_iter().for_each(secrets::issue);
        secrets::watch();
        let tokens = (0..known.len()).map(|i| (ConsoleToken::new(token(i)).hash().0, i)).collect();
        Arc::new(Self { known, tokens, ..Self::default() })
    }

    /// The questions that came since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// The questions that were refused since the last call.
    pub(crate) fn take_overloaded(&self) -> Vec<(usize, &'static str)> {
        std::mem::take(&mut self.overloaded.lock().unwrap())
    }

    fn tenant_of(&self, question: &Question) -> (usize, Answer) {
        let known = |tenant: usize| &self.known[tenant];
        match question {
            Question::Authorize { hash, .. } => {
                let tenant = self.tokens[&hash.0];
                (tenant, known(tenant).authorize)
            }
            Question::Resolve { host, .. } => {
                let tenant = host.strip_prefix("compute-").unwrap().parse().unwrap();
                (tenant, known(tenant).resolve)
            }
            Question::OpenFile { path, .. } => {
                let tenant = file_of(path.as_path().to_str().unwrap()).0;
                (tenant, known(tenant).file)
            }
            Question::ReadFile { file, .. } => {
                let tenant = file.get::<SimFile>().unwrap().tenant;
                (tenant, known(tenant).file)
            }
        }
    }

    /// The answer to a question that is not left open.
    pub(crate) fn answer(&self, asked: Asked) {
        let known = &self.known[asked.tenant];
        let fails = matches!(asked.answer, Answer::Fails(_));
        let input = match &asked.question {
            Question::Authorize { .. } if fails => {
                Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid))
            }
            Question::Authorize { .. } => Input::Authorized(Admitted::boxed(ConnectInfo {
                console_type: known.console_type,
                host: format!("compute-{}", asked.tenant),
                port: Some(5900),
                tls_port: None,
                internal_access_path: known.tunnel.then(|| ACCESS_PATH.to_owned()),
                instance_uuid: "00000000-0000-0000-0000-000000000000".to_owned(),
                expires: 0,
                access_url_base: None,
            })),
            Question::Resolve { .. } if fails => Input::Failed(Failure::Resolve("no such host".to_owned())),
            Question::Resolve { .. } => Input::Resolved(
                (0..known.addresses).map(|i| ([192, 0, 2, u8::try_from(i).unwrap()], 5900).into()).collect(),
            ),
            Question::OpenFile { .. } if fails => Input::File(FileEvent::Missing),
            Question::OpenFile { path, .. } => {
                let (tenant, len) = file_of(path.as_path().to_str().unwrap());
                Input::File(FileEvent::Opened {
                    file: FileHandle::new(SimFile { tenant, len }),
                    meta: Box::new(FileMeta {
                        len: len as u64,
                        modified_unix_ns: 0,
                        gzip: false,
                        media_type: "text/html",
                    }),
                    first: Chunk::copied_from(&file_bytes(0, len.min(PIECE))),
                })
            }
            Question::ReadFile { .. } if fails => Input::File(FileEvent::Failed),
            Question::ReadFile { file, offset } => {
                let offset = usize::try_from(*offset).unwrap();
                let len = (file.get::<SimFile>().unwrap().len - offset).min(PIECE);
                Input::File(FileEvent::Piece(Chunk::copied_from(&file_bytes(offset, len))))
            }
        };
        (asked.reply)(input);
    }
}

/// Tenant and length, from a name such as `file-2-1500.html`.
fn file_of(path: &str) -> (usize, usize) {
    let mut parts = path.trim_start_matches('/').trim_end_matches(".html").split('-').skip(1);
    let mut number = || parts.next().unwrap().parse().unwrap();
    (number(), number())
}

impl Authorizer for SimAuthorizer {
    fn ask(&self, question: Question, reply: Reply) -> Result<(), Overloaded> {
        let (tenant, answer) = self.tenant_of(&question);
        if answer == Answer::Overloaded {
            self.overloaded.lock().unwrap().push((tenant, phase_of(&question)));
            return Err(Overloaded);
        }
        self.asked.lock().unwrap().push(Asked { tenant, answer, question, reply });
        Ok(())
    }

    fn tell(&self, notice: Notice, _now: Instant) {
        self.notices.lock().unwrap().take(&notice);
    }
}
