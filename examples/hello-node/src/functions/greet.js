"use strict";

const { app } = require("@azure/functions");

// Runs for each message of the queue that the function later writes to.
app.storageQueue("greet", {
  queueName: "greetings",
  connection: "AzureWebJobsStorage",
  handler: async (message, context) => {
    context.log(`greeted ${message.name}, try ${context.triggerMetadata.dequeueCount}`);
  },
});
