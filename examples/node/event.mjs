/** The form of docs/schemas/usage.events/single-event.schema.json. */
export const event = (prefix, customer, number) => ({
  id: `${prefix}-${customer}-${number}`,
  source: "examples/node",
  time: new Date().toISOString(),
  customer,
  usage: { input_tokens: 812, output_tokens: 164 },
  dimensions: { model: "alpaca-7b" },
});
