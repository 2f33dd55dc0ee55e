"use strict";

const { app, output } = require("@azure/functions");

const greetings = output.storageQueue({ queueName: "greetings", connection: "AzureWebJobsStorage" });

// Answers at once.
app.http("hello", {
  methods: ["GET", "POST"],
  authLevel: "function",
  route: "hello/{name?}",
  handler: async (request, context) => {
    const name = request.params.name || (await request.text()) || "world";
    context.log(`greeted ${name}`);
    return { jsonBody: { message: `Hello, ${name}!` } };
  },
});

// Leaves the greeting to the function greet: the answer does not wait for it.
app.http("later", {
  methods: ["POST"],
  authLevel: "function",
  route: "later/{name}",
  extraOutputs: [greetings],
  handler: async (request, context) => {
    context.extraOutputs.set(greetings, { name: request.params.name });
    return { status: 202 };
  },
});
