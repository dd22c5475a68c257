"use strict";

// Sign up, then payment details: with Stripe's Payment Element, or with the form that stands in for it.

const { mode, publishableKey } = document.body.dataset;
const signUp = document.getElementById("sign-up");
const stripePayment = document.getElementById("stripe-payment");
const standInPayment = document.getElementById("stand-in-payment");
const problem = document.getElementById("problem");

function complete(visit) {
  return `${location.origin}/complete?visit=${encodeURIComponent(visit)}`;
}

async function post(path, body) {
  const reply = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

// Runs `work` when the form is sent, once at a time, and shows what goes wrong.
function whenSent(form, work) {
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      await work(new FormData(form));
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}

function paymentStep(form) {
  signUp.hidden = true;
  form.hidden = false;
  document.getElementById("step-1").classList.remove("here");
  document.getElementById("step-2").classList.add("here");
}

function collectWithStripe(visit, clientSecret) {
  if (typeof Stripe === "undefined") throw new Error("Stripe.js did not load from js.stripe.com: reload the page");
  const stripe = Stripe(publishableKey);
  const elements = stripe.elements({ clientSecret });
  elements.create("payment").mount("#payment-element");
  paymentStep(stripePayment);
  whenSent(stripePayment, async () => {
    // It leaves for return_url when all is well; it comes back here only with an error.
    const { error } = await stripe.confirmSetup({ elements, confirmParams: { return_url: complete(visit) } });
    if (error) throw new Error(error.message);
  });
}

function collectWithStandIn(visit) {
  paymentStep(standInPayment);
  whenSent(standInPayment, async (form) => {
    await post("/stand-in", { visit, card: form.get("card") });
    location.assign(complete(visit));
  });
}

whenSent(signUp, async (form) => {
  const { visit, client_secret: clientSecret } = await post("/sign-up", { name: form.get("name"), email: form.get("email") });
  if (mode === "stand-in") collectWithStandIn(visit);
  else if (clientSecret) collectWithStripe(visit, clientSecret);
  else location.assign(complete(visit));
});
