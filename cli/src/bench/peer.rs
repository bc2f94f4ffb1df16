//! A llama.cpp server as a measure: it reads and writes the same texts, in turn with ours.
//!
//! Protocol: `/completion` and its `timings`, as in
//! <https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md>.

use std::time::{Duration, Instant};

use gpak_kernel::model::embedded::{Measured, Passage, Speed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;

/// How often each text is measured on either side.
const ROUNDS: usize = 3;
/// How long a server may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take over one text.
const ANSWER: Duration = Duration::from_secs(600);

/// A server that answered as llama.cpp does.
pub struct Peer {
    agent: ureq::Agent,
    url: String,
}

/// Why a server cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error(
    "{url} does not answer as a llama.cpp server: {why}. Start one with `llama-server -m FILE --port \
     8080`, wait until it has loaded, and give `--peer http://127.0.0.1:8080`"
)]
pub struct PeerError {
    url: String,
    why: String,
}

#[derive(Deserialize)]
struct Completion {
    timings: Timings,
}

/// What the server says of its own speed.
#[derive(Deserialize)]
struct Timings {
    prompt_n: u64,
    prompt_per_second: f64,
    #[serde(default)]
    cache_n: u64,
    predicted_per_second: f64,
}

impl Peer {
    /// Makes sure that there is such a server, by having it write a token.
    pub fn meet(url: &str) -> Result<Self, PeerError> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER));
        let peer = Self {
            agent: config.build().into(),
            url: url.trim_end_matches('/').to_owned(),
        };
        peer.complete("Hello", 1, false)?;
        Ok(peer)
    }

    /// Does what [`Measured::speed`] does.
    pub fn speed(&self, passage: &Passage) -> Result<Speed, PeerError> {
        let first = self.complete(&passage.text, passage.written, false)?;
        let both = format!("{}\n{}", passage.text, passage.question);
        let started = Instant::now();
        let again = self.complete(&both, 1, true)?;
        Ok(Speed {
            prefill_tokens_s: first.prompt_per_second,
            prefill_tokens: first.prompt_n,
            decode_tokens_s: first.predicted_per_second,
            first_token_cached_s: started.elapsed().as_secs_f64(),
            cached_tokens: again.cache_n,
        })
    }

    fn complete(&self, prompt: &str, tokens: u32, cached: bool) -> Result<Timings, PeerError> {
        let failed = |why: String| PeerError {
            url: self.url.clone(),
            why,
        };
        let asked = json!({
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0,
            "ignore_eos": true,
            "cache_prompt": cached,
        });
        let reply = self
            .agent
            .post(format!("{}/completion", self.url))
            .header("content-type", "application/json")
            .send(asked.to_string());
        let mut reply = reply.map_err(|why| failed(why.to_string()))?;
        let text = reply.body_mut().read_to_string();
        let text = text.map_err(|why| failed(why.to_string()))?;
        if !reply.status().is_success() {
            return Err(failed(match message(&text) {
                Some(message) => format!("it says {} ({message})", reply.status()),
                None => format!("it says {}", reply.status()),
            }));
        }
        let completion = serde_json::from_str::<Completion>(&text);
        let completion =
            completion.map_err(|why| failed(format!("its reply is another ({why})")))?;
        Ok(completion.timings)
    }
}

/// The server's own words of what went wrong.
fn message(text: &str) -> Option<String> {
    let reply: Value = serde_json::from_str(text).ok()?;
    Some(reply.pointer("/error/message")?.as_str()?.to_owned())
}

/// What the peer did with a text, and how much faster ours was: ratios above 1 are in our favour.
#[derive(Debug, Serialize)]
pub struct Compared {
    #[serde(flatten)]
    pub peer: Speed,
    pub prefill_ratio: f64,
    pub decode_ratio: f64,
    /// Of a question about a text that is known. Ours is asked with the turns of the chat template, of
    /// which the peer's text has none.
    pub first_token_cached_ratio: f64,
}

/// Medians of both sides.
#[derive(Debug, Serialize)]
pub struct Beside {
    pub short: Compared,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long: Option<Compared>,
}

/// Measures ours and the peer in turn, so that what else the machine does meets both. Gives our
/// medians, with the short and the long text, and what became of the comparison.
pub fn beside(ours: &mut Measured, peer: &Peer) -> Result<(Speed, Option<Speed>, Beside), Failure> {
    let (short, compared) = in_turn(ours, peer, Passage::short)?;
    let long = match ours.takes_long() {
        true => Some(in_turn(ours, peer, Passage::long)?),
        false => None,
    };
    let (long, compared_long) = long.unzip();
    let beside = Beside {
        short: compared,
        long: compared_long,
    };
    Ok((short, long, beside))
}

fn in_turn(
    ours: &mut Measured,
    peer: &Peer,
    passage: fn(usize) -> Passage,
) -> Result<(Speed, Compared), Failure> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let passage = passage(round);
        here.push(ours.speed(&passage)?);
        let speed = peer.speed(&passage);
        there.push(speed.map_err(|why| Failure::new(why.to_string()))?);
    }
    let (here, there) = (median(&here), median(&there));
    let compared = Compared {
        prefill_ratio: here.prefill_tokens_s / there.prefill_tokens_s,
        decode_ratio: here.decode_tokens_s / there.decode_tokens_s,
        first_token_cached_ratio: there.first_token_cached_s / here.first_token_cached_s,
        peer: there,
    };
    Ok((here, compared))
}

/// The median of each figure.
fn median(speeds: &[Speed]) -> Speed {
    let of = |figure: fn(&Speed) -> f64| {
        let mut all: Vec<f64> = speeds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Speed {
        prefill_tokens_s: of(|s| s.prefill_tokens_s),
        prefill_tokens: of(|s| s.prefill_tokens as f64) as u64,
        decode_tokens_s: of(|s| s.decode_tokens_s),
        first_token_cached_s: of(|s| s.first_token_cached_s),
        cached_tokens: of(|s| s.cached_tokens as f64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A server that says one thing, once.
    fn server(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let length = body.len();
            let reply = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(reply.as_bytes()).unwrap();
        });
        format!("http://{address}")
    }

    fn refusal(url: &str) -> String {
        let why = Peer::meet(url).err().unwrap().to_string();
        assert!(why.contains(url) && why.contains("llama-server"), "{why}");
        why
    }

    #[test]
    fn what_is_no_llama_cpp_server_is_refused_with_what_to_do() {
        assert!(refusal(&server("404 Not Found", "no such page")).contains("404"));
        refusal(&server("200 OK", "<html>Welcome</html>"));
        refusal(&server("200 OK", r#"{"choices": []}"#));
        refusal("http://127.0.0.1:1");
        refusal("not a url");
    }

    #[test]
    fn a_server_that_still_loads_says_so_in_its_own_words() {
        let body = r#"{"error": {"code": 503, "message": "Loading model"}}"#;
        let why = refusal(&server("503 Service Unavailable", body));
        assert!(why.contains("Loading model"), "{why}");
    }

    #[test]
    fn a_median_is_that_of_each_figure() {
        let speed = |read, write| Speed {
            prefill_tokens_s: read,
            decode_tokens_s: write,
            ..Speed::default()
        };
        let median = median(&[speed(1.0, 30.0), speed(5.0, 10.0), speed(3.0, 20.0)]);
        assert_eq!(
            (median.prefill_tokens_s, median.decode_tokens_s),
            (3.0, 20.0)
        );
    }
}
