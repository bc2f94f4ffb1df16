// Does in a real browser what a person does: signs in, starts a run, allows its write, and looks.
import puppeteer from "puppeteer-core";

const [chromium, url, password, picture] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1200, height: 800 });
  const broken = [];
  page.on("pageerror", (error) => broken.push(String(error)));
  await page.goto(url);

  await page.waitForSelector("input[name=user]");
  await page.type("input[name=user]", "ann");
  await page.type("input[name=password]", "wrong");
  await page.click(".signin button");
  await page.waitForSelector("[role=alert]");
  await page.$eval("input[name=password]", (input) => (input.value = ""));
  await page.type("input[name=password]", password);
  await page.click(".signin button");

  await page.waitForSelector("textarea[name=task]");
  await page.type("textarea[name=task]", "write b.txt");
  await page.click("nav form button");
  await page.waitForSelector(".decide pre");
  const asked = await page.$eval(".decide pre", (pre) => pre.textContent);
  await page.click(".decide button[value=allow]");
  await page.waitForSelector(".head .status.completed");
  await page.waitForSelector("::-p-text(completed: it is written)");
  const tree = await page.$eval(".tree", (tree) => tree.innerText);
  await page.screenshot({ path: picture });

  await page.click("header button");
  await page.waitForSelector(".signin");
  console.log(JSON.stringify({ asked, tree, broken }));
} finally {
  await browser.close();
}
