page.start(() => {});
