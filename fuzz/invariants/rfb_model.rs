//! The handshake as a program that blocks on each read, over two streams that are there in whole.

use consolegate::proto::rfb::{AuthScheme, Extras, Step};

use super::{Conversation, End, Spoken};

const VERSION: &[u8] = b"RFB 003.008\n";

/// What the machine must do, given all that either side sends.
pub(crate) fn converse(spoken: &Spoken, compute: &[u8], tenant: &[u8]) -> Conversation {
    let extras = &spoken.extras;
    let mut model =
        Model { extras, asked: 3_008, compute, tenant, to_tenant: Vec::new(), to_compute: Vec::new() };
    let end = match model.talk(spoken.schemes) {
        Ok(()) => End::Established { to_tenant: model.compute.to_vec(), to_compute: model.tenant.to_vec() },
        Err(end) => end,
    };
    Conversation { to_tenant: model.to_tenant, to_compute: model.to_compute, end }
}

struct Model<'a> {
    extras: &'a Extras,
    /// The version that the compute node is asked for, 3.8 as 3008
    asked: u32,
    compute: &'a [u8],
    tenant: &'a [u8],
    to_tenant: Vec<Vec<u8>>,
    to_compute: Vec<Vec<u8>>,
}

impl Model<'_> {
    fn talk(&mut self, schemes: &[AuthScheme]) -> Result<(), End> {
        let offered = version(read(&mut self.compute, 12, Step::ComputeVersion)?)?;
        self.asked = match offered {
            3_003..=3_006 if self.extras.rfb_33 => 3_003,
            3_007 if self.extras.rfb_33 => 3_007,
            3_080 | ..3_008 => return Err(End::Failed("version")),
            _ => 3_008,
        };
        self.to_compute.push(format!("RFB 003.{:03}\n", self.asked % 1000).into_bytes());
        self.to_tenant.push(VERSION.to_vec());

        let types = if self.asked == 3_003 {
            match *read(&mut self.compute, 4, Step::SecurityTypes)? {
                [0, 0, 0, 0] => Err(self.reason(Step::RefusalReason)?),
                [0, 0, 0, number] => Ok(vec![number]),
                _ => Ok(vec![255]),
            }
        } else {
            match read(&mut self.compute, 1, Step::SecurityTypes)?[0] {
                0 => Err(self.reason(Step::RefusalReason)?),
                count => Ok(read(&mut self.compute, count.into(), Step::SecurityTypes)?.to_vec()),
            }
        };

        if version(read(&mut self.tenant, 12, Step::TenantVersion)?)? != 3_008 {
            return Err(End::Failed("version"));
        }
        let types = match types {
            Ok(types) => types,
            Err((text, length)) => {
                let usable = !text.is_empty() && length <= 256;
                let text = if usable { text } else { b"Unable to negotiate security with server".to_vec() };
                self.to_tenant.push(with_reason(&[0], &text));
                return Err(End::Failed("refused"));
            }
        };
        self.to_tenant.push(vec![1, 1]);

        if read(&mut self.tenant, 1, Step::TenantChoice)? != [1] {
            self.choose(0);
            self.to_tenant.push(with_reason(&[0, 0, 0, 1], b"Only the security type 1 (NONE) is supported"));
            return Err(End::Failed("type-not-offered"));
        }
        let number = |scheme: &AuthScheme| match scheme {
            AuthScheme::None => 1,
            AuthScheme::VeNCrypt => 19,
        };
        let in_clear = self.extras.password.is_some() && self.extras.password_in_clear;
        let usable = schemes.iter().map(number).chain(in_clear.then_some(2));
        let mut usable = usable.filter(|number| *number != 19 || self.asked > 3_003);
        let Some(chosen) = usable.find(|number| types.contains(number)) else {
            self.choose(0);
            return Err(self.unable("no-common-type"));
        };
        self.choose(chosen);
        let challenges = match chosen {
            19 => self.vencrypt()? == 261,
            number => number == 2,
        };
        if challenges {
            let challenge = read(&mut self.compute, 16, Step::VncChallenge)?.try_into().expect("16 bytes");
            let password = self.extras.password.as_ref().expect("or it would not be chosen");
            self.to_compute.push(password.answer(challenge).to_vec());
        }
        if chosen == 1 && self.asked < 3_008 {
            self.to_tenant.push(vec![0; 4]);
            return Ok(());
        }

        let result = read(&mut self.compute, 4, Step::SecurityResult)?;
        if result != [0; 4] {
            if self.asked < 3_008 {
                return Err(self.unable("auth-failed"));
            }
            let (text, _) = self.reason(Step::FailureReason)?;
            self.to_tenant.push(with_reason(result, &text));
            return Err(End::Failed("auth-failed"));
        }
        self.to_tenant.push(vec![0; 4]);
        Ok(())
    }

    /// In 3.3 there is nothing to choose.
    fn choose(&mut self, number: u8) {
        if self.asked > 3_003 {
            self.to_compute.push(vec![number]);
        }
    }

    /// Gives the sub-type.
    fn vencrypt(&mut self) -> Result<u32, End> {
        if read(&mut self.compute, 2, Step::VeNCryptVersion)? != [0, 2] {
            return Err(self.unable("ven-version"));
        }
        self.to_compute.push(vec![0, 2]);
        if read(&mut self.compute, 1, Step::VersionAnswer)? != [0] {
            return Err(self.unable("ven-version"));
        }
        let count = *self.compute.first().ok_or(End::Waiting(Step::Subtypes))?;
        let list = read(&mut self.compute, 1 + 4 * usize::from(count), Step::Subtypes)?;
        let offers = |wanted: u32| list[1..].chunks(4).any(|number| number == wanted.to_be_bytes());
        let chosen = match self.extras.password {
            _ if offers(260) => 260_u32,
            Some(_) if offers(261) => 261,
            _ => return Err(self.unable("ven-subtype")),
        };
        self.to_compute.push(chosen.to_be_bytes().to_vec());
        if read(&mut self.compute, 1, Step::SubtypeAnswer)? == [0] {
            return Err(self.unable("ven-subtype"));
        }
        Ok(chosen)
    }

    fn unable(&mut self, kind: &'static str) -> End {
        self.to_tenant.push(with_reason(&[0, 0, 0, 1], b"Unable to negotiate security with server"));
        End::Failed(kind)
    }

    /// A reason's text without NULs, and its declared length.
    fn reason(&mut self, step: Step) -> Result<(Vec<u8>, usize), End> {
        let length =
            read(&mut self.compute, 4, step)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let mut text = read(&mut self.compute, length, step)?.to_vec();
        text.truncate(256);
        while text.last() == Some(&0) {
            text.pop();
        }
        Ok((text.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect(), length))
    }
}

fn read<'a>(stream: &mut &'a [u8], len: usize, step: Step) -> Result<&'a [u8], End> {
    let (read, rest) = stream.split_at_checked(len).ok_or(End::Waiting(step))?;
    *stream = rest;
    Ok(read)
}

/// A version as one number: 3.8 is 3008.
fn version(bytes: &[u8]) -> Result<u32, End> {
    let not_rfb = || End::Failed("not-rfb");
    let numbers =
        bytes.strip_prefix(b"RFB ").and_then(|rest| rest.strip_suffix(b"\n")).ok_or_else(not_rfb)?;
    let number = |digits: &[u8]| {
        let text =
            std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        text.and_then(|text| text.parse::<u32>().ok()).ok_or_else(not_rfb)
    };
    if numbers[3] != b'.' {
        return Err(not_rfb());
    }
    Ok(number(&numbers[..3])? * 1000 + number(&numbers[4..])?)
}

fn with_reason(head: &[u8], text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text").to_be_bytes();
    [head, &length, text].concat()
}
