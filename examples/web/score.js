// Ask the service for a score. While the model loads, wait as long as the service says, three times at most.
export async function score(features, token, { url = "https://api.example.com/score", onWait = () => {} } = {}) {
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
      body: JSON.stringify(features),
    });
    if (answer.ok) return answer.json();
    if (answer.status !== 503 || attempt === 4) throw new Error(`the service answered ${answer.status}`);
    const seconds = Number(answer.headers.get("Retry-After") ?? 5);
    onWait(seconds);
    await new Promise((resume) => setTimeout(resume, 1000 * seconds));
  }
}
