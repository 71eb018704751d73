//! The decoder of one connection: octets in, heads, slices of bodies and end-lines out (RFC 4975 §5.1, §7.1).
//!
//! It goes on wherever the octets were cut (SYN-09, SYN-24). Octets that it was given leave as slices of what
//! was pushed, except for a head that was cut and for the few octets at a cut that could have been an end-line.
//! Once [`Decoder::next`] has said `None` it holds no pushed memory any more: what it needs is copied out.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    end_line::{EndLineScan, Flag, Found},
    error::{DecodeError, Excerpt},
    head::Head,
    head_parser::{HeadParser, Progress},
    known_heads::{Again, KnownHeads, Shape},
    past_head::{Passed, PastHead},
    start_line::START_LINE_OCTETS_MAX,
};

/// How much of a head is read (SYN-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Octets from the start line to the blank line or the end-line of a bodiless message; more loses the
    /// framing, unless that is kept. At most 48 KiB. Default 32 KiB: twice what SYN-25 asks for.
    pub head_octets_max: usize,
    /// Header lines; more is a fault. Default 128.
    pub header_lines_max: usize,
    /// URIs in To-Path or From-Path; more is a fault. Default 32.
    pub uris_per_path_max: usize,
    /// A head that is too long and a start line that is unreadable behind its transact-id are faults, and the message is
    /// read past to its end-line: for connections that others share. Default no.
    pub keeps_framing: bool,
}

impl DecoderLimits {
    /// Places in a head are kept in 16 bits, also after each line has grown by the space that its colon lacked.
    pub const HEAD_OCTETS_MAX: usize = 48 * 1024;

    /// Where the framing is kept, a start line may have grown on its way: whoever sent it may have set back a transact-id
    /// of any length, and one of ours has 20 octets.
    pub(super) fn start_line_octets_max(&self) -> usize {
        match self.keeps_framing {
            false => START_LINE_OCTETS_MAX,
            true => START_LINE_OCTETS_MAX + 128,
        }
    }
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self {
            head_octets_max: 32 * 1024,
            header_lines_max: 128,
            uris_per_path_max: 32,
            keeps_framing: false,
        }
    }
}

/// What the octets turned out to be. A message is one `Head`, any number of `Body`, one `End`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message begins.
    Head(Head),
    /// Octets of its body, never none.
    Body(Bytes),
    /// Its end-line has come.
    End(Flag),
}

/// Decodes the octets of one connection.
///
/// [`push`](Self::push) octets, then call [`next`](Self::next) until it says `None`. After an error framing is
/// lost for good: every further call gives the same error.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    input: Bytes,
    /// Pushed while `input` was not used up. An empty one is an end of the transport's message.
    later: VecDeque<Bytes>,
    frames: Frames,
    state: State,
    known: KnownHeads,
    /// That of the last head.
    shape: Option<Shape>,
    /// CRLF between messages is skipped (D-44).
    skips_crlf: bool,
    /// How many of them were, since somebody asked.
    crlf_skipped: u32,
}

/// Whether the transport frames messages (RFC 7977 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frames {
    /// A stream: messages follow one another.
    None,
    /// The transport's message has brought no head yet.
    Fresh,
    /// It has brought one, and must not bring another.
    Begun,
}

#[derive(Debug)]
enum State {
    BetweenMessages,
    /// The CR of a CRLF between messages was skipped.
    Crlf,
    /// A head that was cut; boxed because few connections are in the middle of one.
    Head(Box<CutHead>),
    /// A head was given that is too long, and goes on.
    PastHead(Box<PastHead>),
    Body(EndLineScan),
    /// The head of a bodiless message was given, and its end-line is to follow.
    End(Flag),
    Lost(Box<Lost>),
}

/// Where the framing was lost.
#[derive(Debug)]
struct Lost {
    error: DecodeError,
    octets: usize,
    begins: Excerpt,
}

#[derive(Debug)]
struct CutHead {
    octets: Vec<u8>,
    parser: HeadParser,
}

impl Decoder {
    /// For a connection on which nothing was received yet.
    pub fn new(limits: DecoderLimits) -> Self {
        let mut decoder = Self {
            limits,
            input: Bytes::new(),
            later: VecDeque::new(),
            frames: Frames::None,
            state: State::BetweenMessages,
            known: KnownHeads::default(),
            shape: None,
            skips_crlf: false,
            crlf_skipped: 0,
        };
        decoder.set_limits(limits);
        decoder
    }

    /// Other limits from the next head on.
    pub fn set_limits(&mut self, limits: DecoderLimits) {
        self.limits = limits;
        let most = DecoderLimits::HEAD_OCTETS_MAX;
        self.limits.head_octets_max = limits.head_octets_max.min(most);
    }

    /// From now on CRLF between messages is skipped, however often it comes: deployed clients keep connections alive so
    /// (D-44). Anything else there loses the framing.
    pub fn skip_crlf(&mut self) {
        self.skips_crlf = true;
    }

    /// How many CRLF were skipped since this was asked last.
    pub fn take_crlf_skipped(&mut self) -> u32 {
        std::mem::take(&mut self.crlf_skipped)
    }

    /// For a transport each of whose messages must hold exactly one of MSRP: [`push_end`](Self::push_end) tells where
    /// one ends.
    pub fn framed(limits: DecoderLimits) -> Self {
        Self {
            frames: Frames::Fresh,
            ..Self::new(limits)
        }
    }

    /// The transport's message ends behind what was pushed. Only for one that is [`framed`](Self::framed).
    pub fn push_end(&mut self) {
        debug_assert_ne!(self.frames, Frames::None, "a stream has no messages");
        if !matches!(self.state, State::Lost(_)) {
            self.later.push_back(Bytes::new());
        }
    }

    /// Gives the next octets of the connection. Allowed at any time, but what is pushed before
    /// [`next`](Self::next) has said `None` is kept as it is, with all memory that it shares.
    pub fn push(&mut self, octets: Bytes) {
        if octets.is_empty() || matches!(self.state, State::Lost(..)) {
            return;
        }
        if self.input.is_empty() && self.later.is_empty() {
            self.input = octets;
        } else {
            self.later.push_back(octets);
        }
    }

    /// The next event. `None`: more octets are needed. An error: framing is lost, for good.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        loop {
            if let State::End(flag) = self.state {
                self.state = State::BetweenMessages;
                return Ok(Some(Event::End(flag)));
            }
            if let State::Lost(lost) = &self.state {
                return Err(lost.error);
            }
            if self.input.is_empty() {
                match self.later.pop_front() {
                    Some(end) if end.is_empty() => {
                        if let Err(error) = self.message_ends() {
                            self.lose(error);
                        }
                        continue;
                    }
                    Some(octets) => self.input = octets,
                    None => {
                        self.later = VecDeque::new();
                        self.input = Bytes::new();
                        return Ok(None);
                    }
                }
            }
            let step = match &mut self.state {
                State::Body(_) => Ok(self.body()),
                State::Head(_) => self.cut_head(),
                State::PastHead(_) => Ok(self.past_head()),
                State::BetweenMessages if self.input[0] == b'\r' && self.skips_crlf => {
                    let _ = self.input.split_to(1);
                    self.state = State::Crlf;
                    Ok(None)
                }
                State::Crlf => self.crlf(),
                _ => self.head(),
            };
            match step {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => self.lose(error),
            }
        }
    }

    fn lose(&mut self, error: DecodeError) {
        let cut: &[u8] = match &self.state {
            State::Head(head) => &head.octets,
            State::Crlf => b"\r\n",
            _ => &[],
        };
        let lost = Lost {
            error,
            octets: cut.len() + self.undecoded_octets(),
            begins: Excerpt::of_both(cut, &self.input),
        };
        self.input = Bytes::new();
        self.later = VecDeque::new();
        self.state = State::Lost(Box::new(lost));
    }

    /// The transport's message has ended, and so must have the one in it.
    fn message_ends(&mut self) -> Result<(), DecodeError> {
        let whole = matches!(self.state, State::BetweenMessages);
        match std::mem::replace(&mut self.frames, Frames::Fresh) {
            Frames::Begun if whole => Ok(()),
            _ => Err(DecodeError::NotOneMessage),
        }
    }

    /// The shape of the head that [`next`](Self::next) gave last, if it had come before.
    pub fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Lends the octets that are to be decoded next, for a look at them by [`again`](Self::again); they come back by
    /// [`give_back`](Self::give_back), less whole messages at their front. `None` where no message can begin.
    pub fn lend(&mut self) -> Option<Bytes> {
        let begins = matches!(self.state, State::BetweenMessages)
            && !self.input.is_empty()
            && self.frames == Frames::None;
        begins.then(|| std::mem::take(&mut self.input))
    }

    /// What was lent and has not been used.
    pub fn give_back(&mut self, octets: Bytes) {
        self.input = octets;
    }

    /// The message at the front of what was lent, if it is whole, its head is the last one of its kind again, and its body
    /// has `body_max` octets at most; of SENDs only one with the shape `send`. `None` says nothing:
    /// [`next`](Self::next) will tell.
    pub fn again(&self, lent: &[u8], body_max: usize, send: Option<Shape>) -> Option<Again> {
        let again = self.known.again(lent, body_max, send)?;
        (again.head_octets() <= self.limits.head_octets_max).then_some(again)
    }

    /// Whether the end of the stream would be clean here: all octets are used up and no message is open.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::BetweenMessages)
            && self.input.is_empty()
            && self.later.is_empty()
    }

    /// Octets that were pushed and have not been looked at.
    pub fn undecoded_octets(&self) -> usize {
        self.input.len() + self.later.iter().map(Bytes::len).sum::<usize>()
    }

    /// Once framing is lost: how many octets before the last one pushed the message begins that cannot be read, and how it
    /// begins.
    pub fn lost(&self) -> Option<(usize, Excerpt)> {
        match &self.state {
            State::Lost(lost) => Some((lost.octets, lost.begins)),
            _ => None,
        }
    }

    /// Octets of memory held for what is not decoded yet. Pushed octets count as they show, not with what
    /// else their memory keeps alive: see [`compact`](Self::compact).
    pub fn held_octets(&self) -> usize {
        let state = match &self.state {
            State::Head(head) => head.octets.capacity() + size_of::<CutHead>(),
            State::PastHead(past) => past.held_octets(),
            _ => 0,
        };
        state + self.undecoded_octets()
    }

    /// Copies a small remainder out of the memory in which it was pushed. For a source that is about to be
    /// paused before [`next`](Self::next) has said `None`: a few octets shall not keep a read buffer.
    pub fn compact(&mut self) {
        /// Above this a copy costs more than the memory that it could free.
        const REMAINDER_OCTETS_MAX: usize = 4096;
        for octets in self.later.iter_mut().chain([&mut self.input]) {
            if !octets.is_empty() && octets.len() < REMAINDER_OCTETS_MAX {
                *octets = Bytes::copy_from_slice(octets);
            }
        }
    }

    /// Reads a head that begins with the input.
    fn head(&mut self) -> Result<Option<Event>, DecodeError> {
        match self.frames {
            Frames::None => {}
            Frames::Fresh => self.frames = Frames::Begun,
            Frames::Begun => return Err(DecodeError::NotOneMessage),
        }
        let mut parser = HeadParser::new();
        match parser.read(&self.input, &self.limits, &self.known)? {
            Progress::NeedMore => {
                let octets = self.input.to_vec();
                self.input = Bytes::new();
                self.state = State::Head(Box::new(CutHead { octets, parser }));
                Ok(None)
            }
            Progress::Complete {
                head_len,
                taken,
                end,
            } => {
                let mut raw = self.input.split_to(taken);
                raw.truncate(head_len);
                Ok(Some(self.head_complete(parser, raw, end)))
            }
            Progress::TooLong { head_len, at_line } => {
                let raw = self.input.split_to(head_len);
                Ok(Some(self.head_too_long(parser, raw, at_line)))
            }
        }
    }

    /// Reads on in a head that was cut, taking from the input no more than belongs to it.
    fn cut_head(&mut self) -> Result<Option<Event>, DecodeError> {
        let State::Head(head) = &mut self.state else {
            return Ok(None);
        };
        let room = self.limits.head_octets_max + 1 - head.octets.len();
        let line = memchr::memchr(b'\n', &self.input).map_or(self.input.len(), |lf| lf + 1);
        let taken = self.input.split_to(line.min(room));
        head.octets.extend_from_slice(&taken);
        let progress = head.parser.read(&head.octets, &self.limits, &self.known)?;
        if progress == Progress::NeedMore {
            return Ok(None);
        }
        let State::Head(head) = std::mem::replace(&mut self.state, State::BetweenMessages) else {
            return Ok(None);
        };
        let CutHead { mut octets, parser } = *head;
        match progress {
            Progress::NeedMore => Ok(None),
            Progress::Complete { head_len, end, .. } => {
                octets.truncate(head_len);
                Ok(Some(self.head_complete(parser, octets.into(), end)))
            }
            Progress::TooLong { head_len, at_line } => {
                // What is read past begins in here, and no more than a line of it can be here.
                let rest = octets.split_off(head_len);
                let event = self.head_too_long(parser, octets.into(), at_line);
                let input = std::mem::replace(&mut self.input, rest.into());
                self.past_head();
                debug_assert!(self.input.is_empty());
                self.input = input;
                Ok(Some(event))
            }
        }
    }

    /// The beginning of a head that is too long: told as what it is, and the rest read past.
    fn head_too_long(&mut self, parser: HeadParser, raw: Bytes, at_line: bool) -> Event {
        let head = parser.finish(raw, true);
        self.shape = None;
        let past = PastHead::new(head.transact_id(), at_line);
        self.state = State::PastHead(Box::new(past));
        Event::Head(head)
    }

    /// Reads on in the rest of such a head. There is no event in it; its end-line's may be the next one.
    fn past_head(&mut self) -> Option<Event> {
        let State::PastHead(past) = &mut self.state else {
            return None;
        };
        let taken = match past.read(&self.input) {
            Passed::NeedMore => self.input.len(),
            Passed::Blank(taken) => {
                self.state = State::Body(EndLineScan::new(past.tid()));
                taken
            }
            Passed::End(taken, flag) => {
                self.state = State::End(flag);
                taken
            }
        };
        let _ = self.input.split_to(taken);
        None
    }

    /// The LF after a CR between messages.
    fn crlf(&mut self) -> Result<Option<Event>, DecodeError> {
        let lf = self.input.split_to(1);
        if lf[0] != b'\n' {
            return Err(DecodeError::NotMsrp(Excerpt::of(&[b'\r', lf[0]])));
        }
        self.crlf_skipped = self.crlf_skipped.wrapping_add(1);
        self.state = State::BetweenMessages;
        Ok(None)
    }

    fn head_complete(&mut self, parser: HeadParser, raw: Bytes, end: Option<Flag>) -> Event {
        let head = parser.finish(raw, end.is_none());
        self.shape = self.known.learn(&head);
        self.state = match end {
            Some(flag) => State::End(flag),
            None => State::Body(EndLineScan::new(head.transact_id())),
        };
        Event::Head(head)
    }

    fn body(&mut self) -> Option<Event> {
        let State::Body(scan) = &mut self.state else {
            return None;
        };
        match scan.scan(&self.input) {
            Found::Body(octets) => Some(Event::Body(self.input.split_to(octets))),
            Found::Held => Some(Event::Body(scan.release().into())),
            Found::NeedMore => {
                self.input = Bytes::new();
                None
            }
            Found::End(taken, flag) => {
                let _ = self.input.split_to(taken);
                self.state = State::BetweenMessages;
                Some(Event::End(flag))
            }
        }
    }
}
