"use strict";

const { app } = require("@azure/functions");

// Runs every ten seconds.
app.timer("tick", {
  schedule: "*/10 * * * * *",
  handler: async (timer, context) => {
    context.log(`tick${timer.isPastDue ? ", late" : ""}`);
  },
});
